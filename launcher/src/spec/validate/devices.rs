//! Devices other than disks and NICs.

use std::collections::HashSet;

use super::text::is_option_word;
use super::{choose, given};
use crate::spec::device::{Devices, Input, InputBus, PanicDevice, Watchdog, WatchdogAction};
use crate::vmi::findings::Findings;
use crate::vmi::mirror;
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// Name of the tablet that `autoattachInputDevice` adds.
const DEFAULT_INPUT: &str = "default-0";

/// `video.type`s that this version's machine has.
const VIDEOS: [(&str, &str); 4] = [
    ("vga", "vga"),
    ("bochs", "bochs"),
    ("virtio", "virtio"),
    ("cirrus", "cirrus"),
];

pub(super) fn devices(written: &mirror::Devices, out: &mut Findings) -> Devices {
    let graphics = written.autoattach_graphics_device.unwrap_or(true);
    Devices {
        graphics,
        video: video(written, graphics, out),
        serial_console: written.autoattach_serial_console.unwrap_or(true),
        balloon: written.autoattach_mem_balloon.unwrap_or(true),
        rng: written.rng.is_some(),
        panics: panics(written, out),
        watchdog: watchdog(written, out),
        inputs: inputs(written, out),
        virtio_transitional: written.use_virtio_transitional.unwrap_or(false),
        disable_hotplug: written.disable_hotplug.unwrap_or(false),
        block_multi_queue: written.block_multi_queue.unwrap_or(false),
    }
}

fn video(written: &mirror::Devices, graphics: bool, out: &mut Findings) -> Option<String> {
    let video = written.video.as_ref()?;
    let at = Path::of("spec.domain.devices.video");
    if !graphics {
        out.refuse(
            &at,
            "there is no display: `autoattachGraphicsDevice` is false",
            "remove it, or attach the graphics device",
        );
    }
    choose(
        &video.kind,
        &at.key("type"),
        "a display that this version has",
        &VIDEOS,
        out,
    )
    .map(str::to_owned)
}

const PANICS: [(&str, PanicDevice); 3] = [
    ("isa", PanicDevice::Isa),
    ("pvpanic", PanicDevice::Pvpanic),
    ("hyperv", PanicDevice::Hyperv),
];

fn panics(written: &mirror::Devices, out: &mut Findings) -> Vec<PanicDevice> {
    let list = Path::of("spec.domain.devices.panicDevices");
    let mut panics = Vec::new();
    for (index, device) in written.panic_devices.iter().enumerate() {
        let at = list.index(index);
        let what = "a panic device that this version has";
        let Some(model) = choose(&device.model, &at.key("model"), what, &PANICS, out) else {
            if given(&device.model).is_none() {
                out.refuse(
                    &at.key("model"),
                    "it is missing",
                    "say `isa`, `pvpanic` or `hyperv`",
                );
            }
            continue;
        };
        if panics.contains(&model) {
            out.refuse(&at, "there is one of its model already", "remove this");
        }
        panics.push(model);
    }
    panics
}

/// KubeVirt's default (facts 4.0).
const DEFAULT_ACTION: WatchdogAction = WatchdogAction::Reset;

fn watchdog(written: &mirror::Devices, out: &mut Findings) -> Option<Watchdog> {
    let watchdog = written.watchdog.as_ref()?;
    let at = Path::of("spec.domain.devices.watchdog");
    let name = given(&watchdog.name).unwrap_or_default();
    input_name(name, true, &at.key("name"), out);
    let model = at.key("i6300esb");
    let Some(i6300esb) = &watchdog.i6300esb else {
        out.refuse(&model, "it is missing", "say `i6300esb: {action: reset}`");
        return None;
    };
    let actions = [
        WatchdogAction::Poweroff,
        WatchdogAction::Reset,
        WatchdogAction::Shutdown,
    ]
    .map(|action| (action.name(), action));
    let what = "what a watchdog does";
    let action = choose(&i6300esb.action, &model.key("action"), what, &actions, out);
    Some(Watchdog {
        name: name.to_owned(),
        action: action.unwrap_or(DEFAULT_ACTION),
    })
}

fn inputs(written: &mirror::Devices, out: &mut Findings) -> Vec<Input> {
    let list = Path::of("spec.domain.devices.inputs");
    let mut names = HashSet::new();
    let mut inputs = Vec::new();
    for (index, input) in written.inputs.iter().enumerate() {
        let at = list.index(index);
        let name = given(&input.name).unwrap_or_default();
        input_name(name, names.insert(name), &at.key("name"), out);
        choose(
            &input.kind,
            &at.key("type"),
            "an input device that KubeVirt has",
            &[("tablet", ())],
            out,
        );
        let buses = [("usb", InputBus::Usb), ("virtio", InputBus::Virtio)];
        let bus = choose(
            &input.bus,
            &at.key("bus"),
            "a bus for input devices",
            &buses,
            out,
        );
        inputs.push(Input {
            name: name.to_owned(),
            bus: bus.unwrap_or(InputBus::Usb),
        });
    }
    if inputs.is_empty() && written.autoattach_input_device == Some(true) {
        inputs.push(Input {
            name: DEFAULT_INPUT.to_owned(),
            bus: InputBus::Usb,
        });
    }
    inputs
}

fn input_name(name: &str, is_new: bool, at: &Path, out: &mut Findings) {
    if name.is_empty() {
        out.refuse(
            at,
            "it is missing",
            "give the device a name, such as `tablet`",
        );
    } else if !is_option_word(name) {
        out.refuse(
            at,
            format!("`{}` is not a name for a device", shortened(name)),
            "use letters, digits, `-`, `_` and `.`",
        );
    } else if !is_new {
        out.refuse(
            at,
            format!("`{name}` is there twice"),
            "give each device its own name",
        );
    }
}
