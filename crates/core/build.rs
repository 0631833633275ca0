//! Bakes libtorch's folder into the run path of this package's tests, benches and
//! binaries. torch-sys tells its folder only to direct dependents, and a linker flag
//! does not travel to other packages, so each package that links libtorch names this
//! file as its build script.
//!
//! A CUDA libtorch also has its kernels in a library that no symbol of ours asks for; a
//! linker that drops what is not asked for would leave the program without a GPU.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let lib = ["DEP_TCH_LIBTORCH_LIB", "DEP_TORCH_SYS_LIBTORCH_LIB"]
        .iter()
        .find_map(|key| std::env::var(key).ok());
    if let Some(lib) = lib {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
        if Path::new(&lib).join("libtorch_cuda.so").exists() {
            println!("cargo:rustc-link-arg=-L{lib}");
            println!(
                "cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state"
            );
        }
    }
}
