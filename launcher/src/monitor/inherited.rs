//! Open files that came over an exec and are known by their number alone.
#![expect(unsafe_code, reason = "an inherited file is known by its number alone")]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes the file at `number`, close-on-exec from now on. Whoever started us left it there, and it is taken once.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: borrowed only for the call below, which answers EBADF where there is no such file; std has no way to ask
    // for a file by its number.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and by the contract above nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_taken() {
        assert!(take(987).is_err());
        assert!(take(2).is_err(), "it is everybody's");
    }
}
