//! Links MariaDB's client library into the programs, where its archive is installed, instead of the
//! shared one: Debian's package of the shared one cannot be installed beside MySQL's server (it needs
//! mariadb-common, which mysql-server conflicts with). mysqlclient-sys cannot do that: pkg-config's crate
//! links nothing in /usr statically. The archive comes first, so its functions are found there, and the
//! shared library, which mysqlclient-sys asks for, is not needed any more and not named in the programs.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut probe = pkg_config::Config::new();
    probe.cargo_metadata(false).statik(true).print_system_libs(true);
    // As mysqlclient-sys chooses: the bindings are those of the library that it finds first.
    if probe.probe("mysqlclient").is_ok() {
        return;
    }
    let Ok(library) = probe.probe("libmariadb") else { return };
    let has_archive = |folder: &&PathBuf| folder.join("libmariadb.a").is_file();
    let Some(folder) = library.link_paths.iter().find(has_archive) else { return };
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-lib=static=mariadb");
    for needed in library.libs.iter().filter(|name| *name != "mariadb") {
        println!("cargo::rustc-link-lib={needed}");
    }
}
