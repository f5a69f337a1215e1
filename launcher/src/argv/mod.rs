//! QEMU's arguments: JSON where QEMU takes it, `key=value` for the rest.

pub mod keyval;

use camino::Utf8Path;
use serde::Serialize;

use crate::machine::Machine;
use crate::machine::boot::Kernel;
use crate::machine::device::KeyValues;

/// The program and every argument.
pub fn render(qemu: &Utf8Path, machine: &Machine) -> Vec<String> {
    let mut argv = Argv(vec![qemu.to_string()]);
    argv.identity(machine);
    argv.board(machine);
    argv.process(machine);
    argv.start(machine);
    argv.devices(machine);
    argv.0
}

struct Argv(Vec<String>);

impl Argv {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn text(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    fn pairs(&mut self, name: &str, option: &KeyValues) {
        self.text(name, keyval::render(option));
    }

    fn json(&mut self, name: &str, object: &impl Serialize) {
        let text = serde_json::to_string(object)
            .expect("keys are strings and nothing is written elsewhere");
        self.text(name, text);
    }

    fn identity(&mut self, machine: &Machine) {
        let name = KeyValues::new()
            .with("guest", machine.name.as_str())
            .with("debug-threads", "on");
        self.pairs("-name", &name);
        self.text("-uuid", machine.uuid.to_string());
    }

    fn board(&mut self, machine: &Machine) {
        self.pairs("-machine", &machine.board);
        self.pairs("-accel", &machine.accel);
        self.text("-cpu", machine.cpu.as_str());
        self.pairs("-smp", &machine.smp);
        self.pairs("-m", &machine.memory);
        for object in &machine.objects {
            self.json("-object", object);
        }
        for node in &machine.numa {
            self.pairs("-numa", node);
        }
        self.text("-overcommit", "mem-lock=off");
        for table in &machine.smbios {
            self.pairs("-smbios", table);
        }
        self.pairs("-rtc", &machine.rtc);
        for global in &machine.globals {
            self.pairs("-global", global);
        }
    }

    fn process(&mut self, machine: &Machine) {
        self.flag("-no-user-config");
        self.flag("-nodefaults");
        self.text("-display", "none");
        if let Some(path) = &machine.vnc {
            // One word with a prefix: its commas are doubled like a value's.
            self.text("-vnc", keyval::escape(&format!("unix:{path}")));
        }
        self.text(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        self.text("-msg", "timestamp=on");
        for fd in &machine.log_fds {
            self.pairs("-add-fd", fd);
        }
        self.pairs("-chardev", &machine.monitor);
        self.text("-mon", "chardev=charmonitor,id=monitor,mode=control");
    }

    fn start(&mut self, machine: &Machine) {
        self.pairs("-action", &machine.action);
        self.pairs("-boot", &machine.boot);
        if let Some(kernel) = &machine.kernel {
            self.kernel(kernel);
        }
        self.flag("-S");
    }

    fn kernel(&mut self, kernel: &Kernel) {
        let files = [("-kernel", &kernel.kernel), ("-initrd", &kernel.initrd)];
        for (name, path) in files {
            if let Some(path) = path {
                self.text(name, path.as_str());
            }
        }
        if let Some(append) = &kernel.append {
            self.text("-append", append.as_str());
        }
    }

    fn devices(&mut self, machine: &Machine) {
        for chardev in &machine.chardevs {
            self.pairs("-chardev", chardev);
        }
        for node in &machine.blockdevs {
            self.json("-blockdev", node);
        }
        for netdev in &machine.netdevs {
            self.json("-netdev", netdev);
        }
        for device in &machine.devices {
            self.json("-device", device);
        }
    }
}
