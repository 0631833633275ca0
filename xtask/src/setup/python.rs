//! The Python interpreter that setup uses for pip and for unpacking wheels. Nothing uses
//! it at run time.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use limbeck_run::Exit;

use crate::failure::Failure;
use crate::setup::TORCH_VERSION;

/// Version of the interpreter, and version and folder of an installed torch, each on its
/// line; without importing torch, which takes seconds.
const QUESTION: &str = r#"
import importlib.metadata, importlib.util, os, sys
print(sys.version_info[0], sys.version_info[1])
try:
    print(importlib.metadata.version("torch"))
    print(os.path.dirname(importlib.util.find_spec("torch").origin))
except Exception:
    pass
"#;

/// An interpreter that runs.
#[derive(Debug)]
pub(crate) struct Python {
    program: &'static str,
    version: (u32, u32),
    torch: Option<(String, PathBuf)>,
}

impl Python {
    /// `python3` or `python`, whichever runs and is a Python 3.
    pub(crate) fn find() -> Option<Self> {
        ["python3", "python"].into_iter().find_map(|program| {
            let output =
                Command::new(program).args(["-c", QUESTION]).stdin(Stdio::null()).output().ok()?;
            if !output.status.success() {
                return None;
            }
            Self::parse(program, &String::from_utf8_lossy(&output.stdout))
        })
    }

    fn parse(program: &'static str, answer: &str) -> Option<Self> {
        let mut lines = answer.lines();
        let (major, minor) = lines.next()?.split_once(' ')?;
        let version = (major.parse().ok()?, minor.trim().parse().ok()?);
        let torch = lines.next().zip(lines.next());
        let torch = torch.map(|(version, folder)| (version.to_owned(), PathBuf::from(folder)));
        (version.0 == 3).then_some(Self { program, version, torch })
    }

    /// The folder of an installed torch of our version, to be given as `LIBTORCH`.
    pub(crate) fn torch_folder(&self) -> Option<PathBuf> {
        let (version, folder) = self.torch.as_ref()?;
        let release = version.split('+').next().unwrap_or_default();
        (release == TORCH_VERSION).then(|| folder.clone())
    }

    /// A command of this interpreter.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.stdin(Stdio::null());
        command
    }

    /// A pip command, or the error that pip is not there.
    pub(crate) fn pip(&self) -> Result<Command, Failure> {
        let probe = self.command().args(["-m", "pip", "--version"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            return Err(Failure::new(Exit::Missing, format!("{} has no pip", self.program)).hint(
                "install it (Debian and Ubuntu: apt-get install python3-pip), or set LIBTORCH",
            ));
        }
        let mut command = self.command();
        command.args(["-m", "pip"]);
        Ok(command)
    }

    /// Which wheel to ask for where there is none for this interpreter: the libraries are
    /// the same in each.
    pub(crate) fn wheel_options(&self) -> &'static [&'static str] {
        if ((3, 10)..=(3, 14)).contains(&self.version) {
            &[]
        } else {
            &["--python-version", "3.12"]
        }
    }
}

/// The error that no Python was found.
pub(crate) fn missing() -> Failure {
    Failure::new(Exit::Missing, "no python3 to download libtorch with").hint(
        "install Python 3 with pip (Debian and Ubuntu: apt-get install python3-pip), or set \
         LIBTORCH to a libtorch of your own",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_understood() {
        let python = Python::parse("python3", "3 11\n2.13.0+cu130\n/lib/torch\n").unwrap();
        assert_eq!(python.torch_folder(), Some(PathBuf::from("/lib/torch")));
        assert_eq!(python.wheel_options(), [""; 0]);
        let python = Python::parse("python3", "3 11\n2.12.0\n/lib/torch\n").unwrap();
        assert_eq!(python.torch_folder(), None);
        let python = Python::parse("python3", "3 9\n").unwrap();
        assert_eq!(python.torch_folder(), None);
        assert_eq!(python.wheel_options(), ["--python-version", "3.12"]);
        assert!(Python::parse("python", "2 7\n").is_none());
    }
}
