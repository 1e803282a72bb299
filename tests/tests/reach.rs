//! Loops over keys go over what a mask lets be seen, and over little else: what is far away costs nothing.

use attnc::ir::array::Value;
use attnc::ir::cascade::Cascade;
use attnc::ir::interp::{self, Call, nest};
use attnc::ir::nest::Nest;
use attnc::schedule::{Cut, Mapping, schedule};
use attnc::tile::tile;
use attnc_tests::case::{agree, call, expected, sized};
use attnc_tests::spec;

/// A rank of queries and one of keys, their extent, and how many of them a box, and a tile, has.
type Side = (&'static str, &'static str, i64, i64);

/// One axis, and three.
const LINE: &[Side] = &[("qx", "kx", 120, 4)];
const IMAGE: &[Side] = &[("qy", "ky", 10, 1), ("qx", "kx", 16, 2)];
const VIDEO: &[Side] = &[("qt", "kt", 4, 1), ("qy", "ky", 6, 1), ("qx", "kx", 8, 2)];

/// A condition of a parameter `w`, and the same in Rust, of `w`, a query and a key.
struct Mask {
    sides: &'static [Side],
    condition: &'static str,
    sees: fn(i64, &[i64], &[i64]) -> bool,
    /// A `w` that hides most.
    few: i64,
    /// One that hides nothing.
    all: i64,
}

const MASKS: [Mask; 8] = [
    Mask {
        sides: LINE,
        condition: "0 <= qx - kx + w - 1 < 2 * w",
        sees: |w, q, k| (0..2 * w).contains(&(q[0] - k[0] + w - 1)),
        few: 20,
        all: 1000,
    },
    Mask {
        sides: LINE,
        condition: "kx <= qx - 16 or kx < w",
        sees: |w, q, k| k[0] <= q[0] - 16 || k[0] < w,
        few: 40,
        all: 1000,
    },
    Mask {
        sides: LINE,
        condition: "qx // w == kx // w",
        sees: |w, q, k| q[0] / w == k[0] / w,
        few: 40,
        all: 1000,
    },
    Mask {
        sides: LINE,
        condition: "not (abs(qx // 16 - kx // 16) > w)",
        sees: |w, q, k| (q[0] / 16 - k[0] / 16).abs() <= w,
        few: 1,
        all: 1000,
    },
    Mask {
        sides: LINE,
        condition: "qx % 3 == kx % 3 and abs(qx // 3 - kx // 3) <= w",
        sees: |w, q, k| q[0] % 3 == k[0] % 3 && (q[0] / 3 - k[0] / 3).abs() <= w,
        few: 4,
        all: 1000,
    },
    Mask {
        sides: IMAGE,
        condition: "abs(qy - ky) <= w and abs(qx - kx) <= 2 * w",
        sees: |w, q, k| (q[0] - k[0]).abs() <= w && (q[1] - k[1]).abs() <= 2 * w,
        few: 2,
        all: 1000,
    },
    Mask {
        sides: VIDEO,
        condition: "0 <= qt - kt + w // 100 and qt - kt <= w and abs(qy - ky) <= w and abs(qx - kx) <= w",
        sees: |w, q, k| {
            (-w / 100..=w).contains(&(q[0] - k[0])) && (1..3).all(|at| (q[at] - k[at]).abs() <= w)
        },
        few: 1,
        all: 1000,
    },
    // At the ends the neighbourhood is pushed back inside.
    Mask {
        sides: VIDEO,
        condition: "abs(clamp(qt, w, 3 - w) - kt) <= w and abs(clamp(qy, w, 5 - w) - ky) <= w \
                    and abs(clamp(qx, w, 7 - w) - kx) <= w",
        sees: |w, q, k| {
            let last = [3, 5, 7];
            (0..3).all(|at| (q[at].max(w).min(last[at] - w) - k[at]).abs() <= w)
        },
        few: 1,
        all: 1000,
    },
];

impl Mask {
    fn queries(&self) -> Vec<&'static str> {
        self.sides.iter().map(|it| it.0).collect()
    }

    fn keys(&self) -> Vec<&'static str> {
        self.sides.iter().map(|it| it.1).collect()
    }

    /// Attention with such weights.
    fn cascade(&self, weight: &str) -> Cascade {
        let (q, k, condition) = (self.queries().join(", "), self.keys().join(", "), self.condition);
        let text = format!(
            "kernel near {{
  param w: i64
  rank {q}, {k}, d
  input Q[{q}, d]: f32
  input K[{k}, d]: f32
  S[{q}, {k}] = sum[d](Q * K) where {condition}
  Z[{q}] = sum[{k}]({weight}(S))
  output O[{q}, d] = sum[{k}]({weight}(S) * K) / Z
}}"
        );
        spec::cascade(&text).unwrap_or_else(|it| panic!("{it}"))
    }

    fn nest(&self, cascade: &Cascade) -> Nest {
        let mut mapping = Mapping::default();
        for &(q, k, _, tile) in self.sides {
            let tile = Some(tile as u32);
            mapping.ranks.insert(q.to_owned(), Cut { rows: tile, ..Cut::default() });
            mapping.ranks.insert(k.to_owned(), Cut { stream: tile, ..Cut::default() });
        }
        tile(&schedule(cascade, &mapping))
    }

    fn call(&self, cascade: &Cascade, w: i64) -> Call {
        let extents =
            self.sides.iter().flat_map(|&(q, k, extent, _)| [(q, extent as usize), (k, extent as usize)]);
        let extents: Vec<(&str, usize)> = extents.chain([("d", 2)]).collect();
        let mut call = call(cascade, &sized(&extents), 1.0);
        call.params.insert("w".to_owned(), Value::Int(w));
        call
    }

    /// How often loops over keys go round.
    fn rounds(&self, nest: &Nest, cascade: &Cascade, w: i64) -> u64 {
        let rounds = nest::rounds(nest, cascade, &self.call(cascade, w)).unwrap_or_else(|it| panic!("{it}"));
        self.keys().iter().map(|it| rounds[*it]).sum()
    }

    /// Of all pairs of a box of queries and a tile of keys, the share of those in which a query sees a key.
    fn share(&self) -> f64 {
        let boxes = self.sides.iter().fold(vec![Vec::new()], |boxes: Vec<Vec<(i64, i64)>>, side| {
            let starts = (0..side.2 / side.3).map(|it| (it * side.3, side.3));
            let longer = |it: &Vec<(i64, i64)>| {
                starts.clone().map(|new| [it.clone(), vec![new]].concat()).collect::<Vec<_>>()
            };
            boxes.iter().flat_map(longer).collect()
        });
        let points: Vec<Vec<Vec<i64>>> = boxes.iter().map(|it| points(it)).collect();
        let sees =
            |q: &[Vec<i64>], k: &[Vec<i64>]| q.iter().any(|q| k.iter().any(|k| (self.sees)(self.few, q, k)));
        let n_seen: usize = points.iter().map(|q| points.iter().filter(|k| sees(q, k)).count()).sum();
        n_seen as f64 / (points.len() * points.len()) as f64
    }
}

/// All points of a box, given where it begins and how long it is along each axis.
fn points(sides: &[(i64, i64)]) -> Vec<Vec<i64>> {
    sides.iter().fold(vec![Vec::new()], |all: Vec<Vec<i64>>, &(from, length)| {
        let longer = |it: &Vec<i64>| {
            (from..from + length).map(|new| [it.clone(), vec![new]].concat()).collect::<Vec<_>>()
        };
        all.iter().flat_map(longer).collect()
    })
}

#[test]
fn loops_go_over_the_neighbourhood_only() {
    for mask in &MASKS {
        // Weights without scales: full tiles are not tried first, so every tile goes through the same loops.
        let cascade = mask.cascade("sigmoid");
        let nest = mask.nest(&cascade);
        let [few, all] = [mask.few, mask.all].map(|w| mask.rounds(&nest, &cascade, w));
        let (found, wanted) = (few as f64 / all as f64, mask.share());
        assert!(wanted < 0.6, "{}: {wanted} of the tiles matter", mask.condition);
        // A bound follows from single conditions, so that a tile more at an end may be visited.
        assert!(found <= 1.25 * wanted, "{}: {found} of the work for {wanted} of the tiles", mask.condition);
    }
}

#[test]
fn what_is_left_out_is_not_missed() {
    for mask in &MASKS {
        let cascade = mask.cascade("exp");
        let nest = mask.nest(&cascade);
        for w in [mask.few, mask.few + 1, mask.all] {
            let call = mask.call(&cascade, w);
            let found = interp::nest::run(&nest, &cascade, &call, nest::Manner::default());
            let found = found.unwrap_or_else(|it| panic!("{}: {it}", mask.condition));
            agree(mask.condition, &found, &expected(&cascade, &call), 2e-5);
        }
    }
}
