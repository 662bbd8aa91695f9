//! `rowcall completions` and `rowcall man`: what shells and manuals know of the command, made from its definition.

use crate::failure::Failure;
use crate::output;
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

const COMPLETIONS_HELP: &str = "\
Examples:
  rowcall completions bash > ~/.local/share/bash-completion/completions/rowcall
  rowcall completions zsh > ~/.zfunc/_rowcall
  rowcall completions fish > ~/.config/fish/completions/rowcall.fish

Packages bring them along.";

#[derive(Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct Completions {
    /// For which shell
    shell: Shell,
}

const MAN_HELP: &str = "\
Examples:
  rowcall man | man -l -
  rowcall man --to ~/.local/share/man/man1

Packages bring them along.";

#[derive(Args)]
#[command(after_help = MAN_HELP)]
pub(crate) struct Man {
    /// Write the pages of all subcommands into this folder, rowcall.1, rowcall-listen.1 and so on; without
    /// it, the first one goes to stdout
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "rowcall", &mut script);
        output::bytes(&script)
    }
}

impl Man {
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        // What is global is then known to each subcommand, and the help subcommand gets no page.
        command = command.disable_help_subcommand(true);
        command.build();
        match &self.to {
            None => output::bytes(&page(&command)?),
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
                write(&command, folder)
            }
        }
    }
}

/// Its page, and those of all that is below it.
fn write(command: &Command, folder: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page(command)?).map_err(|error| cannot(&file, &error))?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write(below, folder))
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(command.clone()).render(&mut page);
    written.map_err(|error| Failure::other(format!("cannot write a page of the manual: {error}")))?;
    Ok(page)
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("cannot write {}: {error}", path.display()))
}
