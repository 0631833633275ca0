//! Energy while a model generates, from the machine's own counters: of the processor's packages
//! (RAPL, as Linux's power capping shows it) or of the GPU (NVML). Where they cannot be read there
//! is no figure; none is estimated.

use std::fs;
use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use tch::Device;

use super::Energy;

/// Where Linux lists RAPL's zones.
const POWERCAP: &str = "/sys/class/powercap";

/// Counters that run while something is measured.
#[derive(Debug)]
pub struct EnergyMeter {
    counters: Counters,
    /// Joules up to the last reading.
    joules: f64,
}

#[derive(Debug)]
enum Counters {
    Rapl(Vec<Package>),
    Nvml { nvml: Box<Nvml>, index: u32, millijoules: u64 },
}

/// A processor package's counter.
#[derive(Debug)]
struct Package {
    zone: PathBuf,
    /// Where the counter begins again from 0, in microjoules.
    range: u64,
    microjoules: u64,
}

impl EnergyMeter {
    /// Starts measuring what a device uses: all of the processor's packages, with all that runs on
    /// them, or the whole GPU. `None` where not all of it can be read: RAPL is usually the
    /// superuser's, NVML counts from Volta on, and which GPU a number stands for is not certain
    /// where several are visible and `CUDA_DEVICE_ORDER` is not `PCI_BUS_ID`.
    pub fn start(device: Device) -> Option<Self> {
        match device {
            Device::Cpu => Self::start_rapl(Path::new(POWERCAP)),
            Device::Cuda(index) => Self::start_nvml(index),
            _ => None,
        }
    }

    /// Starts measuring the packages listed in a folder such as `/sys/class/powercap`.
    pub fn start_rapl(powercap: &Path) -> Option<Self> {
        let mut packages = Vec::new();
        for entry in fs::read_dir(powercap).ok()? {
            let zone = entry.ok()?.path();
            let name = zone.file_name()?.to_str()?;
            // `intel-rapl:0` is a package, AMD's too; `intel-rapl:0:1` a part of it, and
            // `intel-rapl-mmio:0` the same one by another way.
            let Some(number) = name.strip_prefix("intel-rapl:") else { continue };
            if number.contains(':') {
                continue;
            }
            // The platform's own zone (`psys`) holds the packages.
            if !fs::read_to_string(zone.join("name")).ok()?.starts_with("package") {
                continue;
            }
            let range = counter(&zone, "max_energy_range_uj")?;
            let microjoules = counter(&zone, "energy_uj")?;
            packages.push(Package { zone, range, microjoules });
        }
        (!packages.is_empty()).then_some(Self { counters: Counters::Rapl(packages), joules: 0.0 })
    }

    fn start_nvml(index: usize) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let by_bus = std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|order| order == "PCI_BUS_ID");
        let index = nvml_index(index, visible.as_deref(), by_bus, nvml.device_count().ok()?)?;
        let millijoules = nvml.device_by_index(index).ok()?.total_energy_consumption().ok()?;
        let counters = Counters::Nvml { nvml: Box::new(nvml), index, millijoules };
        Some(Self { counters, joules: 0.0 })
    }

    /// Reads the counters. RAPL's begin again after some minutes to hours of full load, which is
    /// noticed once between two readings: a long measurement calls this now and then. `None` if
    /// they cannot be read any more.
    pub fn read(&mut self) -> Option<()> {
        match &mut self.counters {
            Counters::Rapl(packages) => {
                for package in packages {
                    let now = counter(&package.zone, "energy_uj")?;
                    let before = std::mem::replace(&mut package.microjoules, now);
                    let used =
                        if now >= before { now - before } else { now + package.range - before };
                    self.joules += used as f64 * 1e-6;
                }
            }
            Counters::Nvml { nvml, index, millijoules } => {
                let device = nvml.device_by_index(*index).ok()?;
                let now = device.total_energy_consumption().ok()?;
                let before = std::mem::replace(millijoules, now);
                // Less than before: the driver was loaded again.
                self.joules += now.checked_sub(before)? as f64 * 1e-3;
            }
        }
        Some(())
    }

    /// Ends measuring, with the tokens that were generated meanwhile. `None` if the counters cannot
    /// be read any more, or nothing was generated.
    pub fn stop(mut self, tokens: u64) -> Option<Energy> {
        self.read()?;
        let source = match self.counters {
            Counters::Rapl(_) => "rapl",
            Counters::Nvml { .. } => "nvml",
        };
        let (source, joules) = (source.to_owned(), self.joules);
        (tokens > 0).then(|| Energy { source, joules, joules_per_token: joules / tokens as f64 })
    }
}

fn counter(zone: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(zone.join(name)).ok()?.trim().parse().ok()
}

/// NVML's number of a CUDA device, where it is certain: NVML counts all devices in the order of the
/// bus.
fn nvml_index(index: usize, visible: Option<&str>, by_bus: bool, devices: u32) -> Option<u32> {
    if devices == 1 {
        return (index == 0).then_some(0);
    }
    if !by_bus {
        return None;
    }
    let number = match visible {
        Some(list) => list.split(',').nth(index)?.trim().parse().ok()?,
        None => u32::try_from(index).ok()?,
    };
    (number < devices).then_some(number)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Machine(TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn set(&self, zone: &str, name: &str, value: &str) {
            let zone = self.0.path().join(zone);
            fs::create_dir_all(&zone).unwrap();
            fs::write(zone.join(name), format!("{value}\n")).unwrap();
        }

        fn zone(&self, zone: &str, name: &str, microjoules: &str) {
            self.set(zone, "name", name);
            self.set(zone, "max_energy_range_uj", "1000000000");
            self.set(zone, "energy_uj", microjoules);
        }
    }

    #[test]
    fn all_packages_count_and_begin_again() {
        let machine = Machine::new();
        machine.zone("intel-rapl:0", "package-0", "5000000");
        machine.zone("intel-rapl:1", "package-1", "999000000");
        machine.zone("intel-rapl:2", "psys", "0");
        machine.zone("intel-rapl:0:0", "core", "0");
        machine.zone("intel-rapl-mmio:0", "package-0", "0");
        machine.set("intel-rapl", "enabled", "1");
        let mut meter = EnergyMeter::start_rapl(machine.0.path()).unwrap();
        for zone in ["intel-rapl:2", "intel-rapl:0:0", "intel-rapl-mmio:0"] {
            machine.set(zone, "energy_uj", "700000000");
        }
        machine.set("intel-rapl:0", "energy_uj", "7000000");
        meter.read().unwrap();
        machine.set("intel-rapl:1", "energy_uj", "2000000");
        let energy = meter.stop(10).unwrap();
        // 2 J, and 1 J up to the end of the range with 2 J from its beginning.
        assert!((energy.joules - 5.0).abs() < 1e-9, "{energy:?}");
        assert!((energy.joules_per_token - 0.5).abs() < 1e-9);
        assert_eq!(energy.source, "rapl");
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        assert!(EnergyMeter::start_rapl(Path::new("/none/such")).is_none());
        let machine = Machine::new();
        assert!(EnergyMeter::start_rapl(machine.0.path()).is_none());
        machine.zone("intel-rapl:0", "package-0", "5");
        // As the superuser's file reads to others: there, but not to be read.
        machine.zone("intel-rapl:1", "package-1", "");
        assert!(EnergyMeter::start_rapl(machine.0.path()).is_none());
        machine.set("intel-rapl:1", "energy_uj", "5");
        let meter = EnergyMeter::start_rapl(machine.0.path()).unwrap();
        assert!(meter.stop(0).is_none());
        let meter = EnergyMeter::start_rapl(machine.0.path()).unwrap();
        fs::remove_file(machine.0.path().join("intel-rapl:0/energy_uj")).unwrap();
        assert!(meter.stop(10).is_none());
        assert!(EnergyMeter::start(Device::Mps).is_none());
    }

    #[test]
    fn a_gpu_is_known_or_not_measured() {
        assert_eq!(nvml_index(0, None, false, 1), Some(0));
        assert_eq!(nvml_index(1, None, false, 1), None);
        assert_eq!(nvml_index(0, None, false, 8), None);
        assert_eq!(nvml_index(1, None, true, 8), Some(1));
        assert_eq!(nvml_index(1, Some("3, 5"), true, 8), Some(5));
        assert_eq!(nvml_index(2, Some("3,5"), true, 8), None);
        assert_eq!(nvml_index(0, Some("GPU-8f"), true, 8), None);
        assert_eq!(nvml_index(0, Some("9"), true, 8), None);
    }
}
