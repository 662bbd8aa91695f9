//! The Dockerfile and the compose file, as far as they can be looked at without Docker: that they fit each other
//! and this tree. Building and starting them is not tested here; what they install is, in packages.rs.

use harness::repository;
use std::collections::BTreeMap;
use std::fs;
use yaml_rust2::{Yaml, YamlLoader};

/// Each stage of the Dockerfile, its image, and its instructions.
fn stages() -> BTreeMap<String, (String, Vec<String>)> {
    let text = fs::read_to_string(repository().join("dist/Dockerfile")).unwrap().replace("\\\n", " ");
    let mut stages = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["FROM", image, "AS", name] = words[..] {
            stages.insert(name.to_owned(), (image.to_owned(), Vec::new()));
            current = Some(name.to_owned());
        } else {
            let stage = current.as_ref().expect("FROM comes first");
            stages.get_mut(stage).unwrap().1.push(words.join(" "));
        }
    }
    stages
}

fn compose() -> Yaml {
    let text = fs::read_to_string(repository().join("dist/compose.yaml")).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().map(|list| list.iter().map(|item| item.as_str().unwrap()).collect()).unwrap_or_default()
}

#[test]
fn images_are_plain_names_and_their_files_are_there() {
    let stages = stages();
    assert_eq!(stages.keys().map(String::as_str).collect::<Vec<_>>(), ["build", "daemon", "server"]);
    for (stage, (image, lines)) in &stages {
        assert!(
            !image.contains('/') && image.contains(':'),
            "{stage}: {image} names a registry, or no version"
        );
        for line in lines {
            let instruction = line.split(' ').next().unwrap();
            let known = ["RUN", "COPY", "WORKDIR", "USER", "ENV", "CMD"];
            assert!(known.contains(&instruction), "{stage}: {line}");
            if let Some(files) = line.strip_prefix("COPY ") {
                let from = files.split(' ').next().unwrap();
                assert!(repository().join(from).exists(), "{stage}: {from} is not in the tree");
            }
            // Where `make deb` leaves the packages.
            if line.contains("from=build") {
                assert!(line.contains("source=/src/target/deb"), "{stage}: {line}");
            }
        }
    }
}

#[test]
fn services_are_built_of_the_stages_and_share_the_socket() {
    let (stages, compose) = (stages(), compose());
    let services = compose["services"].as_hash().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        let name = name.as_str().unwrap();
        let build = &service["build"];
        assert!(stages.contains_key(build["target"].as_str().unwrap()), "{name}: {build:?}");
        let dockerfile = repository().join("dist").join(build["context"].as_str().unwrap());
        assert!(dockerfile.join(build["dockerfile"].as_str().unwrap()).is_file(), "{name}: {build:?}");
        let volumes = texts(&service["volumes"]);
        assert!(volumes.contains(&"socket:/run/rowcall"), "{name}: {volumes:?}");
        for volume in volumes {
            let known = compose["volumes"].as_hash().unwrap();
            let volume = volume.split(':').next().unwrap();
            assert!(known.contains_key(&Yaml::String(volume.into())), "{name}: {volume} is no volume");
        }
        for other in texts(&service["depends_on"]) {
            assert!(services.contains_key(&Yaml::String(other.into())), "{name}: {other} is no service");
        }
        assert!(service["ports"].is_badvalue(), "{name}: no port is opened");
    }
}

/// A new volume takes the owner of the folder in the image that mounts it first. Which one that is differs between
/// Docker and Podman, so every image that mounts the socket's has it, and gives it to whom the daemon runs as.
#[test]
fn whichever_image_mounts_the_volume_first_it_belongs_to_the_daemon() {
    let (stages, compose) = (stages(), compose());
    let daemon = &stages["daemon"].1;
    let user = daemon.iter().find_map(|line| line.strip_prefix("USER ")).expect("it does not run as root");
    let (uid, gid) = user.split_once(':').expect("numbers of an account and a group");
    let made = format!("RUN install -d -o {uid} -g {gid} /run/rowcall");
    for (name, service) in compose["services"].as_hash().unwrap() {
        let stage = service["build"]["target"].as_str().unwrap();
        assert!(stages[stage].1.contains(&made), "{name:?}: {stage} has no {made:?}");
    }
}

/// What the listener runs is a command that there is.
#[test]
fn the_listener_s_command_is_one() {
    let compose = compose();
    let command = texts(&compose["services"]["listener"]["command"]);
    assert_eq!(command[0], "rowcall");
    let mut listener = std::process::Command::new(harness::built("rowcall"));
    // Help is given once what stands before it has been understood.
    let output = listener.args(&command[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong =
        std::process::Command::new(harness::built("rowcall")).args(["listen", "--wrong", "--help"]).output();
    assert!(!wrong.unwrap().status.success());
}
