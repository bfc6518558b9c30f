//! `file`, `directory`, `absent`, `upload`, `hosts`.

use std::path::Path;

use super::{super::task, Act, Fill, Looks, Task, call};
use crate::playbook::{Absent, Directory, File, Hosts, Text, Upload, sha256};

const ROOM: &str = "see whether the host has room (`df -h`) and the path is right";

/// Permissions of a file as strings for the shell.
struct Access {
    mode: String,
    owner: String,
    group: String,
}

impl Fill<'_> {
    fn access(
        &mut self,
        mode: Option<&Text>,
        owner: Option<&Text>,
        group: Option<&Text>,
        default: &str,
    ) -> Access {
        let stated = self.text_or(mode, default);
        let digits = stated.trim_start_matches("0o").trim_start_matches('0');
        if let Some(at) = mode
            && (digits.len() > 4 || !digits.chars().all(|c| ('0'..='7').contains(&c)))
        {
            let message = format!("`{stated}` is not a mode");
            self.wrong(at, message, "write it in octal, such as 0640");
        }
        let owner = self.text_or(owner, "root");
        let mode = if digits.is_empty() { "0" } else { digits };
        Access {
            mode: mode.to_owned(),
            group: self.text_or(group, &owner),
            owner,
        }
    }

    /// An absolute path.
    fn path(&mut self, text: &Text) -> String {
        let path = self.text(text);
        if !path.starts_with('/') || path.contains('\n') {
            let message = format!("`{path}` is not an absolute path");
            self.wrong(text, message, "write the whole path, from /");
        }
        path
    }

    pub(super) fn put_file(&mut self, file: &File, base: Task) -> Task {
        let dest = self.path(&file.dest);
        let content = match (&file.content, &file.template) {
            (Some(content), _) => self.secret(content),
            (None, Some(template)) => self.template(template),
            (None, None) => String::new(),
        };
        let Access { mode, owner, group } = self.access(
            file.mode.as_ref(),
            file.owner.as_ref(),
            file.group.as_ref(),
            "644",
        );
        let check = self.text_or(file.check.as_ref(), "");
        let sum = sha256(content.as_bytes());
        let put = call("put", &[&dest, &mode, &owner, &group, &check]);
        Task {
            check: call("file_is", &[&dest, &sum, &mode, &owner, &group]),
            act: Act::Script(task::set(&[("CONTENT", &content)]) + &put),
            looks: look_at(&dest),
            wanted: Some(task::Wanted::File(content)),
            remedy: ROOM.to_owned(),
            ..base
        }
    }

    pub(super) fn directory(&mut self, directory: &Directory, base: Task) -> Task {
        let path = self.path(&directory.path);
        let Access { mode, owner, group } = self.access(
            directory.mode.as_ref(),
            directory.owner.as_ref(),
            directory.group.as_ref(),
            "755",
        );
        let words = [&*path, &mode, &owner, &group];
        Task {
            check: call("directory_is", &words),
            act: Act::Script(call("make_directory", &words)),
            looks: look_at(&path),
            remedy: ROOM.to_owned(),
            ..base
        }
    }

    pub(super) fn absent(&mut self, absent: &Absent, base: Task) -> Task {
        let path = self.path(&absent.path);
        Task {
            check: call("absent_is", &[&path]),
            act: Act::Script(call("make_absent", &[&path])),
            remedy: "only files and empty directories are removed".to_owned(),
            ..base
        }
    }

    pub(super) fn upload(&mut self, upload: &Upload, base: Task) -> Task {
        let from = self.text(&upload.from);
        let dest = self.path(&upload.dest);
        let sum = self.sum(&upload.from, Path::new(&from));
        let Access { mode, owner, group } = self.access(
            upload.mode.as_ref(),
            upload.owner.as_ref(),
            upload.group.as_ref(),
            "644",
        );
        Task {
            check: call("file_is", &[&dest, &sum, &mode, &owner, &group]),
            looks: look_at(&dest),
            act: Act::Upload(task::Upload {
                from: from.into(),
                dest,
                sha256: sum,
                mode,
                owner,
                group,
            }),
            remedy: ROOM.to_owned(),
            ..base
        }
    }

    pub(super) fn hosts(&mut self, hosts: &Hosts, base: Task) -> Task {
        let path = match &hosts.path {
            Some(path) => self.path(path),
            None => "/etc/hosts".to_owned(),
        };
        let mut lines = vec!["# BEGIN hafail".to_owned()];
        lines.extend(self.names_of_hosts());
        for extra in &hosts.extra {
            let address = self.text(&extra.address);
            let names = self.texts(&extra.names);
            lines.push(format!("{address} {}", names.join(" ")));
        }
        lines.push("# END hafail".to_owned());
        let block = lines.join("\n");
        let set = task::set(&[("BLOCK", &block)]);
        Task {
            check: set.clone() + &call("block_is", &[&path]),
            act: Act::Script(set + &call("put_block", &[&path])),
            wanted: Some(task::Wanted::Block(block)),
            remedy: ROOM.to_owned(),
            ..base
        }
    }

    /// `address name` of all hosts that have an address.
    fn names_of_hosts(&self) -> Vec<String> {
        let hosts = self.scope().facts.get("hosts");
        let hosts = hosts.and_then(|hosts| hosts.try_iter().ok());
        let line = |host: minijinja::Value| {
            let address = host.get_attr("private_address").ok()?;
            let name = host.get_attr("name").ok()?;
            (!address.is_none() && !address.is_undefined()).then(|| format!("{address} {name}"))
        };
        hosts.into_iter().flatten().filter_map(line).collect()
    }
}

fn look_at(path: &str) -> Looks {
    Looks {
        files: [path.to_owned()].into(),
        ..Looks::default()
    }
}
