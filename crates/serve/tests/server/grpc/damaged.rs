//! Messages of any bytes.

use std::collections::HashMap;

use tonic::{Code, Request, Status};

use super::{channel, good, in_json, longs, raw, request, runtime, start, texts};
use crate::support::{Random, count};

/// Messages that are damaged get a status, and nothing breaks. `MALFORMED` is their number.
#[test]
fn damaged_messages_are_refused_and_nothing_breaks() {
    use prost::Message as _;
    let server = start(&[]);
    let seed = 3;
    eprintln!("seed {seed}");
    let mut random = Random(seed);
    let two = request("tiny-qa", vec![texts("question", &["who?"]), texts("context", &["anna works"])]);
    let ids = request("tiny-qa", vec![longs("input_ids", &[1, 3], &[2, 3, 4])]);
    let bases = [good(), raw(good()), two, ids.clone(), raw(ids)].map(|request| request.encode_to_vec());
    runtime().block_on(async {
        let mut client = tonic::client::Grpc::new(channel(&server).await);
        let mut statuses: HashMap<Code, usize> = HashMap::new();
        let cases = count("MALFORMED", 2000);
        for case in 0..cases {
            let mut bytes = bases[random.below(bases.len())].clone();
            for _ in 0..random.below(4) + 1 {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes[at] = random.next() as u8,
                    2 => bytes.insert(at, random.next() as u8),
                    3 => bytes[at] ^= 1 << random.below(8),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            client.ready().await.unwrap();
            let path = "/inference.GRPCInferenceService/ModelInfer".parse().unwrap();
            let answer = client.unary(Request::new(Raw(bytes)), path, RawCodec).await;
            let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
            *statuses.entry(code).or_default() += 1;
            let known = [Code::Ok, Code::InvalidArgument, Code::NotFound, Code::DeadlineExceeded];
            assert!(known.contains(&code), "case {case}: {code}");
        }
        eprintln!("{cases} malformed messages of gRPC, {statuses:?}");
    });
    let metrics = server.get("/metrics").text().to_owned();
    assert!(metrics.contains("\nmb_panics_total 0\n") && !metrics.contains("why=\"panic\""), "{metrics}");
    assert_eq!(server.post("/v2/models/tiny-classify/infer", &in_json(&good()).to_string()).status, 200);
}

/// A message whose bytes are given.
struct Raw(Vec<u8>);

/// Sends bytes as they are.
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Raw;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Raw;
    type Error = Status;

    fn encode(&mut self, item: Raw, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item.0);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let left = bytes::Buf::remaining(buffer);
        bytes::Buf::advance(buffer, left);
        Ok(Some(()))
    }
}
