//! The images of the pods: cert-manager, OpenBao and our controller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Image, Layer};

use crate::servers::components::Components;
use xtask::process::read;

/// The image of cert-manager's controllers.
pub(crate) const CERT_MANAGER: &str = "localhost/cert-manager:e2e";

/// The image of OpenBao.
pub(crate) const OPENBAO: &str = "localhost/openbao:e2e";

/// The image of our controller.
pub(crate) const CONTROLLER: &str = "localhost/vault-issuer:e2e";

/// Returns the archive that [`write_controller`] makes in `dir`.
pub(super) fn controller(dir: &Path) -> PathBuf {
    dir.join("vault-issuer.tar")
}

/// Writes the images of the servers, which are part of the node image, into `dir`.
pub(super) fn write_servers(dir: &Path, components: &Components) -> anyhow::Result<()> {
    let layer = program("cert-manager", &components.cert_manager());
    image(CERT_MANAGER, "/cert-manager", layer).write_archive(&dir.join("cert-manager.tar"))?;
    // The cases read the audit log and metrics with these; busybox is the program that it is called as.
    let layer = ["bin/cat", "bin/nc", "bin/sh"]
        .into_iter()
        .fold(program("bin/bao", &components.vault()), |layer, path| {
            layer.file(path, 0o755, PathBuf::from("/bin/busybox"))
        });
    image(OPENBAO, "/bin/bao", layer).write_archive(&dir.join("openbao.tar"))
}

/// Writes the image of our controller into `dir`.
pub(super) fn write_controller(dir: &Path, controller: &Path) -> anyhow::Result<()> {
    let mut layer = program("usr/local/bin/vault-issuer", controller);
    for library in libraries(&read(Command::new("ldd").arg(controller))?) {
        layer = layer.file(library.trim_start_matches('/'), 0o755, PathBuf::from(library));
    }
    let mut image = image(CONTROLLER, "/usr/local/bin/vault-issuer", layer);
    image.command = vec!["controller".into()];
    image.write_archive(&self::controller(dir))
}

fn program(path: &str, binary: &Path) -> Layer {
    let layer = Layer::default().folder("tmp", 0o1777).folder("etc", 0o755);
    layer.file(path, 0o755, binary.to_owned())
}

fn image(name: &str, entrypoint: &str, layer: Layer) -> Image {
    Image {
        name: name.into(),
        architecture: "amd64",
        user: "65532:65532",
        entrypoint: vec![entrypoint.into()],
        command: Vec::new(),
        labels: BTreeMap::new(),
        layer,
    }
}

/// Returns the paths in the output of `ldd`: the libraries and their loader.
fn libraries(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries(output),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
    }
}
