#!/bin/bash
# Makes the node image: the tar archive of its root, for `docker import`.
#
# build.sh WORK OUT. In WORK lie bin/ (the programs of Kubernetes, etcd, CoreDNS, kube-router), kind/ (kind's
# images/base/files) and images/ (archives of images that the nodes have beside those of Kubernetes).
# Follows images/base/Dockerfile and pkg/build/nodeimage of kind. The release of Debian is the last one whose systemd
# runs on cgroup v1 as well.
set -euo pipefail
work=$1 out=$2 here=$(cd "$(dirname "$0")" && pwd)
root=$work/root bin=$work/bin
version=$("$bin/kubeadm" version --output short)

# The node's files.
packages=systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,conntrack,ebtables
packages+=,iproute2,ipset,ethtool,socat,kmod,procps,util-linux,mount,jq,ca-certificates,hostname,libseccomp2,curl,findutils
mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$work/base.tar"
mkdir "$root" && tar --extract --directory "$root" --exclude './dev/*' --file "$work/base.tar"
rm -rf "$root"/usr/share/{doc,locale,man} "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
plain=$work/plain && cp -a "$root" "$plain" # without the node's services: the root of kube-proxy
cp --recursive --no-preserve=mode,ownership "$work/kind/." "$root/" && rm -rf "$root/LICENSES"
chmod 755 "$root"/usr/local/bin/* "$root"/kind/bin/*
units=$root/lib/systemd/system
rm -f "$units"/sysinit.target.wants/systemd-tmpfiles-setup.service "$units"/multi-user.target.wants/* \
  "$root"/etc/systemd/system/*.wants/* "$units"/local-fs.target.wants/* "$units"/sockets.target.wants/*{udev,initctl}* \
  "$units"/basic.target.wants/*
echo ReadKMsg=no >> "$root/etc/systemd/journald.conf"
chroot "$root" systemctl --quiet enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$root" systemctl --quiet mask systemd-binfmt.service
sed -i '/^OOMScoreAdjust/d' "$root/etc/systemd/system/containerd.service"
ln -s /usr/bin/containerd "$root/usr/local/bin/containerd"
mkdir -p "$root"/{etc/kubernetes/manifests,etc/cni/net.d,opt/cni/bin,kind/manifests,var/lib/containerd}
for plugin in "$root"/usr/lib/cni/*; do ln -s "/usr/lib/cni/${plugin##*/}" "$root/opt/cni/bin/"; done
install "$bin"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
install "$here/entrypoint.sh" "$root/usr/local/bin/node-entrypoint"
cp "$here"/default-{cni,storage}.yaml "$root/kind/manifests/"
cp "$here/network-policies.yaml" "$root/kind/"
echo -n "$version" > "$root/kind/version"
ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
  > "$root/etc/containerd/cri-base.json"

# The images of the control plane, by the names that kubeadm looks for.
named() { "$bin/kubeadm" config images list --kubernetes-version "$version" | grep "/$1:"; }
# image NAME CONFIG ROOT: a Docker archive of one layer.
image() {
  local dir=$work/image && mkdir "$dir"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --directory "$3" --file "$dir/layer.tar" .
  local layer && layer=sha256:$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)
  jq --null-input --arg layer "$layer" --argjson config "$2" \
    '{architecture: "amd64", os: "linux", config: $config, rootfs: {type: "layers", diff_ids: [$layer]}}' \
    > "$dir/config.json"
  jq --null-input --arg name "$1" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer.tar"]}]' \
    > "$dir/manifest.json"
  tar --create --directory "$dir" --file "$work/images/$(date +%N).tar" manifest.json config.json layer.tar
  rm -r "$dir" "$3"
}
# with PATH FILE: a root that holds one program.
with() {
  local new=$work/one && mkdir -p "$new/tmp" "$new/etc" "$(dirname "$new/$1")" && chmod 1777 "$new/tmp"
  install "$2" "$new/$1" && echo "$new"
}
pause=$(named pause)
image "$pause" '{"Entrypoint": ["/bin/busybox", "tail", "-f", "/dev/null"]}' "$(with bin/busybox /bin/busybox)"
path='{"Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}'
for program in kube-apiserver kube-controller-manager kube-scheduler etcd; do
  image "$(named $program)" "$path" "$(with "usr/local/bin/$program" "$bin/$program")"
done
image "$(named coredns)" '{"User": "65532:65532", "Entrypoint": ["/coredns"]}' "$(with coredns "$bin/coredns")"
# Every node unpacks this image.
rm -rf "$plain"/usr/{bin/{containerd*,ctr,perl*},sbin/runc,lib/cni,share/perl*}
install "$bin"/kube-{proxy,router} "$plain/usr/local/bin/"
image "$(named kube-proxy)" "$path" "$plain"
sed -i "s#PROXY_IMAGE#$(named kube-proxy)#" "$root/kind/manifests/default-cni.yaml" "$root/kind/network-policies.yaml"
# CoreDNS binds port 53 without the file capability that its official image has, and the score of a process may be
# lowered by those only who have CAP_SYS_RESOURCE.
sed -i "s#registry.k8s.io/pause:3.10\"#$pause\"#; s/restrict_oom_score_adj = false/restrict_oom_score_adj = true/" \
  "$root/etc/containerd/config.toml"
echo '  enable_unprivileged_ports = true' >> "$root/etc/containerd/config.toml"

# A containerd of our own puts the images into the node's store; the node unpacks them at first use.
cat > "$work/containerd.toml" <<END
version = 2
root = "$root/var/lib/containerd"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/containerd.sock"
END
containerd --config "$work/containerd.toml" > "$work/containerd.log" 2>&1 & server=$!
trap 'kill $server' EXIT
own() { ctr --address "$work/containerd.sock" --namespace k8s.io "$@"; }
until own version > /dev/null 2>&1; do kill -0 $server; sleep 0.1; done
for archive in "$work"/images/*.tar; do
  own images import --all-platforms --no-unpack "$archive" > /dev/null && rm "$archive"
done
kill $server && wait $server || true
trap - EXIT
# Each node gets a copy of /var; the images, which nothing changes, stay where all nodes share them.
content=io.containerd.content.v1.content
mv "$root/var/lib/containerd/$content" "$root/kind/content"
ln -s /kind/content "$root/var/lib/containerd/$content"
tar --create --directory "$root" --file "$out" .
