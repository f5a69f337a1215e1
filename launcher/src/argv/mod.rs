//! QEMU's command line from the machine: JSON where QEMU takes it, `key=value` with doubled commas elsewhere.
