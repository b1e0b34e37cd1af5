//! Scratch: against a real Vault.
use std::io::{Read, Write};
use std::net::TcpStream;

use fake_vault::conformance::{self, Shape};
use http::{Request, Response};
use issuer_core::{Body, Now};

fn send(port: u16, request: &Request<Body>) -> Response<Body> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let body = request.body().as_bytes();
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n",
        request.method(),
        request.uri(),
        body.len()
    );
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += "\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body).unwrap();
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).unwrap();
    let text = String::from_utf8_lossy(&reply).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    let rest = if head.to_lowercase().contains("transfer-encoding: chunked") {
        let mut out = String::new();
        let mut rest = rest;
        while let Some((n, tail)) = rest.split_once("\r\n") {
            let n = usize::from_str_radix(n, 16).unwrap();
            if n == 0 {
                break;
            }
            out += &tail[..n];
            rest = &tail[n + 2..];
        }
        out
    } else {
        rest.to_owned()
    };
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut r = Response::new(Body::from(rest.into_bytes()));
    *r.status_mut() = http::StatusCode::from_u16(status).unwrap();
    r
}

#[test]
fn real() {
    let port: u16 = std::env::var("VAULT_PORT").unwrap().parse().unwrap();
    for call in conformance::set_up() {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/v1/{}", call.path))
            .header("X-Vault-Token", "root")
            .body(Body::from(call.body.to_string().into_bytes()))
            .unwrap();
        let r = send(port, &request);
        assert!(
            r.status().is_success(),
            "{} {} {}",
            call.path,
            r.status(),
            String::from_utf8_lossy(r.body().as_bytes())
        );
    }
    let mut log = Vec::new();
    let real = conformance::run("root", &mut |request| {
        let r = send(port, &request);
        log.push(String::from_utf8_lossy(r.body().as_bytes()).into_owned());
        r
    });
    let mut fake = conformance::fake();
    let now = Now {
        unix: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap(),
        ..Now::default()
    };
    let mut flog = Vec::new();
    let mut now = now;
    let ours = conformance::run("root", &mut |request| {
        now.monotonic += std::time::Duration::from_millis(20);
        let r = fake.handle(now, request);
        flog.push(String::from_utf8_lossy(r.body().as_bytes()).into_owned());
        r
    });
    let mut bad = 0;
    for ((name, a), (_, b)) in real.iter().zip(&ours) {
        if a != b {
            bad += 1;
            println!("## {name}\n  real {a}\n  fake {b}");
        }
    }
    println!("{} cases, {bad} differ", real.len());
    for (a, b) in log.iter().zip(&flog) {
        let e = |s: &str| {
            serde_json::from_str::<serde_json::Value>(s)
                .ok()
                .map(|v| (v["errors"].clone(), v["warnings"].clone()))
        };
        if e(a) != e(b) {
            println!(
                "text\n  real {}\n  fake {}",
                a.chars().take(400).collect::<String>(),
                b.chars().take(400).collect::<String>()
            );
        }
    }
    let _: Option<Shape> = None;
}

#[test]
fn speed() {
    use crate::scene::*;
    use serde_json::json;
    let mut scene = Scene::new();
    let token = scene.login();
    let body = json!({ "csr": csr(&["www.example.com"]) });
    let t = std::time::Instant::now();
    for _ in 0..1000 {
        scene.post("pki/sign/web", &token, body.clone());
    }
    println!("sign {:?}", t.elapsed() / 1000);
    let t = std::time::Instant::now();
    for _ in 0..1000 {
        scene.login();
    }
    println!("login {:?}", t.elapsed() / 1000);
    let scene = Scene::new();
    let t = std::time::Instant::now();
    let mut v = Vec::new();
    for _ in 0..100000 {
        v.push(scene.vault.clone());
    }
    println!("clone {:?}", t.elapsed() / 100000);
    println!("size {}", std::mem::size_of::<fake_vault::FakeVault>());
}
