//! Links the library so that the server never unmaps it: its code may still be on a thread's stack,
//! and a thread's destructors may still point into it, after the last DROP FUNCTION.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
