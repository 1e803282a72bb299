//! How a command ends: the exit status, and why it stopped.

use std::process::ExitCode;

use attnc::codegen::CodegenError;

/// The exit status of a command that did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// The spec or the target refuses.
    Refused = 1,
    /// The command line makes no sense, or names what cannot be read.
    Usage = 2,
    /// A verification failed.
    Unverified = 3,
    /// A bug of ours, or an output that cannot be written.
    Internal = 4,
}

/// Why a command stopped.
#[derive(Debug)]
pub(crate) struct Stop {
    status: Status,
    /// What there is to say, unless it was said already.
    message: Option<String>,
}

impl Stop {
    pub(crate) fn refused(message: impl ToString) -> Stop {
        Stop { status: Status::Refused, message: Some(message.to_string()) }
    }

    pub(crate) fn usage(message: impl ToString) -> Stop {
        Stop { status: Status::Usage, message: Some(message.to_string()) }
    }

    pub(crate) fn internal(message: impl ToString) -> Stop {
        Stop { status: Status::Internal, message: Some(message.to_string()) }
    }

    /// There is no code: the back end is missing, or a bug of ours.
    pub(crate) fn codegen(error: CodegenError) -> Stop {
        if matches!(error, CodegenError::NotBuiltIn(_) | CodegenError::Refused { .. }) {
            Stop::refused(error)
        } else {
            Stop::internal(error)
        }
    }

    /// Everything was said.
    pub(crate) fn said(status: Status) -> Stop {
        Stop { status, message: None }
    }

    /// Says the rest; the status for the system.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("error: {message}");
        }
        ExitCode::from(self.status as u8)
    }
}

/// Whether a command did what it was asked.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Makes a panic ask for a report; it is always a bug of ours.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("internal error: {panic}");
        eprintln!(
            "This is a bug in attnc {}, not in your spec. Please report it, with the spec and this message, at {}/issues.",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_REPOSITORY"),
        );
        std::process::exit(i32::from(Status::Internal as u8));
    }));
}
