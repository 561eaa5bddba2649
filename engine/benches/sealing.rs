//! Question: what does sealing cost, by primitive, by record and by message?
//! Dataset: zeros of 256 B to 256 KiB for the primitives (AES-GCM takes all bytes alike); generated
//! mail of about 20 KB for blobs. Unit: time an operation, and bytes of plain text a second.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::ids::{AccountNumber, BlobTag, KeyGeneration, Lsn};
use engine::seal::aead::{Aead, AesGcmReference, AwsLc, NONCE_BYTES};
use engine::seal::{Aad, BlobSealer, Compression, KEY_BYTES, Key, Sealer, seal};

const SIZES: [(&str, usize); 4] =
    [("256 B", 256), ("4 KiB", 4 << 10), ("16 KiB", 16 << 10), ("256 KiB", 256 << 10)];
/// A sealed record of one arrival has about so many bytes.
const RECORD_BYTES: usize = 160;

fn primitives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aead");
    let implementations: [&dyn Aead; 2] = [&AesGcmReference, &AwsLc];
    for implementation in implementations {
        for (label, bytes) in SIZES {
            group.throughput(Throughput::Bytes(bytes.try_into().expect("a small number")));
            let mut text = vec![0; bytes];
            group.bench_function(format!("{}/{label}", implementation.name()), |bencher| {
                bencher.iter(|| {
                    let (key, nonce) = (&[1; KEY_BYTES], &[0; NONCE_BYTES]);
                    implementation.seal_in_place(key, nonce, b"associated", black_box(&mut text))
                });
            });
        }
    }
}

fn records(criterion: &mut Criterion) {
    let sealer = Sealer::system();
    let key = Key::random(sealer.random());
    let aad = Aad::Record { kind: 1, account: AccountNumber(1), lsn: Lsn::ZERO };
    criterion.bench_function("record/160 B", |bencher| {
        bencher.iter(|| seal(&sealer, &key, aad, black_box(&[7; RECORD_BYTES])));
    });
}

fn blobs(criterion: &mut Criterion) {
    let sealer = Sealer::system();
    let key = Key::random(sealer.random());
    let mail = dataset::mail(20_000);
    let mut group = criterion.benchmark_group("blob of 20 KB");
    group.throughput(Throughput::Bytes(dataset::mean_bytes(&mail)));
    let compressions = [("plain", Compression::Off), ("zstd 1", Compression::Zstd(1))];
    for (label, compression) in compressions {
        let mut next = mail.iter().cycle();
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                let message = next.next().expect("a cycle does not end");
                let accounts = [(AccountNumber(1), KeyGeneration(1), &key)];
                let plain_len = message.len().try_into().expect("a small number");
                let tag = BlobTag(sealer.random_id());
                let compression = compression.clone();
                let mut blob = BlobSealer::new(&sealer, tag, &accounts, plain_len, compression)
                    .expect("one account, a small message");
                (blob.header().1, blob.seal_chunk(message))
            });
        });
    }
}

criterion_group!(benches, primitives, records, blobs);
criterion_main!(benches);
