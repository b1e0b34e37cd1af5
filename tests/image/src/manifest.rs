//! Images as Docker archives and as OCI image layouts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::layer::Layer;
use crate::tar::Tar;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image of one layer: its files and how they are run.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name with its tag.
    pub name: String,
    /// The architecture, by Go's name, such as `amd64`.
    pub architecture: &'static str,
    /// The user and group, or an empty string for root.
    pub user: &'static str,
    /// The program.
    pub entrypoint: Vec<String>,
    /// The arguments of the program unless others are given.
    pub command: Vec<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The files.
    pub layer: Layer,
}

/// The files written for an image.
#[derive(Clone, Debug)]
pub struct Written {
    /// The digest of its manifest.
    pub digest: String,
    /// The size of its files.
    pub unpacked: u64,
    /// The size of its files, compressed.
    pub compressed: u64,
}

impl Image {
    /// Writes the image as a Docker archive.
    ///
    /// # Errors
    ///
    /// Fails if a file of the layer cannot be read, or the archive cannot be written.
    pub fn write_archive(&self, to: &Path) -> anyhow::Result<()> {
        let layer = to.with_extension("layer");
        let digest = self.layer.write(&layer)?;
        let config = self.config(&digest).to_string();
        let (config_file, layer_file) = (
            format!("{}.json", Digest::of(config.as_bytes()).hex),
            format!("{}.tar", digest.hex),
        );
        let manifest = json!([{ "Config": config_file, "RepoTags": [self.name], "Layers": [layer_file] }]).to_string();
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut tar = Tar::new(BufWriter::new(file));
        for (name, text) in [(config_file.as_str(), &config), ("manifest.json", &manifest)] {
            tar.file(name, 0o644, text.len() as u64, text.as_bytes())?;
        }
        tar.file(&layer_file, 0o644, digest.size, File::open(&layer)?)?;
        tar.finish()?;
        Ok(fs::remove_file(layer)?)
    }

    /// Writes the image's blobs into an image layout; returns its descriptor as well.
    fn write_blobs(&self, layout: &Path) -> anyhow::Result<(Value, Written)> {
        let (plain, compressed) = (layout.join("layer.tar"), layout.join("layer.tar.gz"));
        let diff = self.layer.write(&plain)?;
        let status = Command::new("gzip")
            .args(["--best", "--no-name"])
            .stdin(File::open(&plain)?)
            .stdout(File::create(&compressed)?)
            .status()
            .context("cannot run gzip")?;
        ensure!(status.success(), "gzip ended with {status}");
        fs::remove_file(plain)?;
        let layer = Digest::of_file(&compressed)?;
        fs::rename(compressed, blob(layout, &layer))?;
        let config = write_blob(layout, &self.config(&diff))?;
        let manifest = write_blob(
            layout,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
            }),
        )?;
        let mut own = descriptor(MANIFEST, &manifest);
        if let Some(fields) = own.as_object_mut() {
            let platform = json!({ "os": "linux", "architecture": self.architecture });
            fields.insert("platform".into(), platform);
        }
        let written = Written {
            digest: manifest.name(),
            unpacked: diff.size,
            compressed: layer.size,
        };
        Ok((own, written))
    }

    fn config(&self, layer: &Digest) -> Value {
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": self.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [layer.name()] },
        })
    }
}

/// Writes an image for one or more platforms into an OCI image layout, a folder that must not exist.
///
/// # Errors
///
/// Fails if a file of a layer cannot be read, or the layout cannot be written.
pub fn write_layout(images: &[Image], layout: &Path) -> anyhow::Result<Vec<Written>> {
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    fs::write(
        layout.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    )?;
    let (mut descriptors, mut all) = (Vec::new(), Vec::new());
    for image in images {
        let (descriptor, written) = image.write_blobs(layout)?;
        descriptors.push(descriptor);
        all.push(written);
    }
    let mut top = match descriptors.as_slice() {
        [one] => one.clone(),
        // A name stands for one descriptor only, so an image for several platforms is an index of its own.
        _ => descriptor(INDEX, &write_blob(layout, &index(&descriptors))?),
    };
    if let (Some(fields), Some(image)) = (top.as_object_mut(), images.first()) {
        let tag = image.name.rsplit(':').next().unwrap_or_default();
        let annotations = json!({
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": tag,
        });
        fields.insert("annotations".into(), annotations);
    }
    fs::write(layout.join("index.json"), index(&[top]).to_string())?;
    Ok(all)
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn descriptor(media_type: &str, digest: &Digest) -> Value {
    json!({ "mediaType": media_type, "digest": digest.name(), "size": digest.size })
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(&digest.hex)
}

fn write_blob(layout: &Path, value: &Value) -> anyhow::Result<Digest> {
    let text = value.to_string();
    let digest = Digest::of(text.as_bytes());
    fs::write(blob(layout, &digest), text)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(architecture: &'static str) -> Image {
        Image {
            name: "example.com/a:1".into(),
            architecture,
            user: "65532:65532",
            entrypoint: vec!["/a".into()],
            command: Vec::new(),
            labels: BTreeMap::new(),
            layer: Layer::default().file("a", 0o755, architecture.to_owned()),
        }
    }

    /// Returns a new empty folder for the test `name`.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vault-issuer-image-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn read(layout: &Path, descriptor: &Value) -> Value {
        let (_, hex) = descriptor["digest"].as_str().unwrap().split_once(':').unwrap();
        let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
        assert_eq!(Digest::of(&bytes).hex, hex);
        assert_eq!(descriptor["size"], bytes.len());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn layout_names_each_blob_by_digest() {
        let folder = folder("layout");
        let written = write_layout(&[image("amd64"), image("arm64")], &folder.join("oci")).unwrap();
        let index: Value = serde_json::from_slice(&fs::read(folder.join("oci/index.json")).unwrap()).unwrap();
        let platforms = read(&folder.join("oci"), &index["manifests"][0]);
        assert_eq!(platforms["manifests"].as_array().unwrap().len(), 2);
        for (at, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let descriptor = &platforms["manifests"][at];
            assert_eq!(descriptor["digest"], written[at].digest);
            assert_eq!(descriptor["platform"]["architecture"], architecture);
            let manifest = read(&folder.join("oci"), descriptor);
            assert_eq!(
                read(&folder.join("oci"), &manifest["config"])["architecture"],
                architecture
            );
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn same_image_makes_same_digest() {
        let folder = folder("same");
        let [first, second] = ["a", "b"].map(|name| {
            write_layout(&[image("amd64")], &folder.join(name)).unwrap()[0]
                .digest
                .clone()
        });
        assert_eq!(first, second);
        let [first, second] = ["a.tar", "b.tar"].map(|name| {
            image("amd64").write_archive(&folder.join(name)).unwrap();
            fs::read(folder.join(name)).unwrap()
        });
        assert_eq!(first, second);
        fs::remove_dir_all(&folder).unwrap();
    }
}
