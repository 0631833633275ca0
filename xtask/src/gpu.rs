//! Whether there is an NVIDIA driver and a GPU, without libtorch.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The GPUs of this machine, as the driver names them; empty where there is no driver.
pub(crate) fn names() -> Vec<String> {
    let listed = Command::new("nvidia-smi").arg("-L").output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        return text.lines().filter(|line| line.starts_with("GPU ")).map(str::to_owned).collect();
    }
    // Containers often see the driver but have no nvidia-smi.
    let entries = fs::read_dir(Path::new("/proc/driver/nvidia/gpus"));
    let names = entries.into_iter().flatten().flatten();
    names.map(|entry| format!("GPU {}", entry.file_name().to_string_lossy())).collect()
}
