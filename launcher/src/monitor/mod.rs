//! PID 1: starts the supervisor and QEMU, forwards signals, reaps, knows every exit status first.
