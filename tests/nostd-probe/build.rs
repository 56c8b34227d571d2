//! No C runtime, no standard library: the program starts at its own `_start`.
fn main() {
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg={argument}");
    }
}
