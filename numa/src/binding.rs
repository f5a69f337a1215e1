//! Whether memory may be bound to a node.
#![expect(unsafe_code, reason = "neither std nor nix has `mbind`")]

/// Whether this process may call `mbind(2)`. Containers' default seccomp profile forbids it without CAP_SYS_NICE, and a
/// kernel without NUMA has no such call.
pub fn may_bind() -> bool {
    // SAFETY: an empty range with the default policy changes nothing and makes the kernel read none of the pointers
    // (`do_mbind` returns before); all arguments are plain numbers. Nothing safer makes this call.
    let answer =
        unsafe { libc::syscall(libc::SYS_mbind, 0_usize, 0_usize, 0, 0_usize, 0_usize, 0) };
    answer == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_answers() {
        // Either answer is one; this must not kill us.
        let _ = super::may_bind();
    }
}
