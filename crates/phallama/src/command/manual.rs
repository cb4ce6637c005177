//! `phallama completion`, `phallama man`: out of the one definition of the command line.

use clap::CommandFactory as _;

use crate::cli::{Cli, Completion, Man};
use crate::error::CliError;
use crate::print;

pub(super) fn completion(options: &Completion) {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "phallama", &mut script);
    print::piece(&String::from_utf8_lossy(&script));
}

pub(super) fn man(options: &Man) -> Result<(), CliError> {
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.expect("memory takes what is written to it");
        print::piece(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|source| CliError::File { path: dir.clone(), source })?;
    print::note(format!("Read one with `man -l {}/phallama.1`", dir.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        fn count(command: &clap::Command) -> u32 {
            1 + command
                .get_subcommands()
                .filter(|it| it.get_name() != "help")
                .map(count)
                .sum::<u32>()
        }
        let dir = tempfile::tempdir().unwrap();
        man(&Man { dir: Some(dir.path().to_owned()) }).unwrap();
        let mut root = Cli::command();
        root.build();
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(u32::try_from(files).unwrap(), count(&root));
        let text = std::fs::read_to_string(dir.path().join("phallama-limits-set.1")).unwrap();
        assert!(text.contains("per\\-day"), "{text}");
    }
}
