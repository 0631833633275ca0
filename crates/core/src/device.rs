//! Where tensors live. A device that was asked for and is missing is an error, never a
//! silent fallback.

use std::fmt;
use std::str::FromStr;

use tch::Device;

use crate::{Error, Result};

/// A device as a user writes it: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// CUDA where a GPU is visible, else the CPU.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

impl DeviceSpec {
    /// The libtorch device.
    ///
    /// # Errors
    /// [`Error::Device`] if a CUDA device was asked for and is not there.
    pub fn resolve(self) -> Result<Device> {
        let visible = || if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(if visible() > 0 { Device::Cuda(0) } else { Device::Cpu }),
            Self::Cuda(index) => {
                let count = visible();
                if (index as i64) < count {
                    Ok(Device::Cuda(index))
                } else {
                    let reason = if tch::utils::has_cuda() {
                        format!("{count} CUDA devices are visible")
                    } else {
                        "this libtorch is a CPU build".to_owned()
                    };
                    Err(Error::Device { asked: self.to_string(), reason })
                }
            }
        }
    }
}

/// The device on which a test that takes any device runs: the one that the environment
/// variable `LIMBECK_TEST_DEVICE` names (`cargo xtask cuda-test` sets it), else the CPU.
///
/// # Panics
/// If the variable names no device, or one that is not there: a test must not pass on the
/// CPU that was to run elsewhere.
pub fn test_device() -> Device {
    let text = std::env::var(TEST_DEVICE).unwrap_or_else(|_| "cpu".to_owned());
    text.parse()
        .and_then(DeviceSpec::resolve)
        .unwrap_or_else(|error| panic!("{TEST_DEVICE}={text}: {error}"))
}

const TEST_DEVICE: &str = "LIMBECK_TEST_DEVICE";

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => {}
        }
        text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda).ok_or_else(
            || Error::Unknown {
                what: "device",
                found: text.to_owned(),
                expected: "auto, cpu, cuda or cuda:N",
            },
        )
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
        }
    }
}

impl serde::Serialize for DeviceSpec {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DeviceSpec {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_round_trips() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
        assert!("gpu".parse::<DeviceSpec>().is_err());
        assert!("cuda:x".parse::<DeviceSpec>().is_err());
    }

    #[test]
    fn a_missing_gpu_is_an_error() {
        let error = DeviceSpec::Cuda(4096).resolve().unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }
}
