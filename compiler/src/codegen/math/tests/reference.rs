//! erf and gelu by the power series of erf in pairs of doubles, and by Laplace's continued fraction far out.

/// An unevaluated sum of some 106 bits.
#[derive(Clone, Copy)]
struct Pair(f64, f64);

impl Pair {
    fn add(self, other: Pair) -> Pair {
        let sum = self.0 + other.0;
        let from_other = sum - self.0;
        let error = (self.0 - (sum - from_other)) + (other.0 - from_other);
        Pair(sum, error + (self.1 + other.1)).settled()
    }

    fn mul(self, other: Pair) -> Pair {
        let product = self.0 * other.0;
        let error = self.0.mul_add(other.0, -product);
        Pair(product, error + (self.0 * other.1 + self.1 * other.0)).settled()
    }

    fn div(self, n: f64) -> Pair {
        let quotient = self.0 / n;
        let rest = (-quotient).mul_add(n, self.0) + self.1;
        Pair(quotient, rest / n).settled()
    }

    /// Its terms apart by at least the width of a double.
    fn settled(self) -> Pair {
        let high = self.0 + self.1;
        Pair(high, (self.0 - high) + self.1)
    }
}

/// `1 / (1 + exp (-x))`
pub(super) fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// `x / (1 + exp (-x))`, rounded once where it vanishes; NaN at -inf.
pub(super) fn silu(x: f64) -> f64 {
    let root = (0.5 * x).exp();
    if x < -30.0 { x * root / (1.0 + root * root) * root } else { x * sigmoid(x) }
}

/// `1 / sqrt x`, by a step of Newton from the rounded one.
pub(super) fn rsqrt(x: f64) -> f64 {
    let y = 1.0 / x.sqrt();
    let square = self::square(y);
    let defect = (-x).mul_add(square.0, 1.0) - x * square.1;
    if defect.is_finite() { y + 0.5 * y * defect } else { y }
}

/// `erf x`
pub(super) fn erf(x: f64) -> f64 {
    let two_over_root_pi = Pair(std::f64::consts::FRAC_2_SQRT_PI, 1.533_545_961_316_588e-17);
    match x.abs() {
        tiny if tiny < 1e-9 => x * two_over_root_pi.0,
        large if large > 6.0 => 1f64.copysign(x),
        _ => series(square(x)).mul(two_over_root_pi).mul(Pair(x, 0.0)).0,
    }
}

/// `x (1 + erf (x / √2)) / 2`, NaN at -inf.
pub(super) fn gelu(x: f64) -> f64 {
    let root_two_over_pi = Pair(0.797_884_560_802_865_4, -4.984_654_404_555_46e-17);
    let z = square(x).div(2.0);
    match x {
        f64::NEG_INFINITY => f64::NAN,
        far if far < -40.0 => 0.0,
        far if far < -4.0 => {
            // In two factors, of which the first is no subnormal.
            let rest = z.0.min(700.0) - z.0;
            let scale = (-0.5 * root_two_over_pi.0) * (z.0 / fraction(z.0));
            scale * (-z.0.min(700.0)).exp() * (1.0 - z.1) * rest.exp()
        }
        far if far > 9.0 => x,
        tiny if tiny.abs() < 1e-160 => x * 0.5,
        _ => {
            let erf = series(z).mul(root_two_over_pi).mul(Pair(x, 0.0));
            Pair(1.0, 0.0).add(erf).mul(Pair(x * 0.5, 0.0)).0
        }
    }
}

fn square(x: f64) -> Pair {
    Pair(x, 0.0).mul(Pair(x, 0.0))
}

/// `Σ (-z)^n / (n! (2n + 1))`
fn series(z: Pair) -> Pair {
    let (mut term, mut sum) = (Pair(1.0, 0.0), Pair(1.0, 0.0));
    let mut n = 0.0;
    while term.0.abs() > 1e-33 {
        n += 1.0;
        term = term.mul(z).div(-n);
        sum = sum.add(term.div(2.0 * n + 1.0));
    }
    sum
}

/// `z + (1/2) / (1 + 1 / (z + (3/2) / (1 + 2 / …)))`, in which `erfc √z = √(z/π) exp (-z)` over it.
fn fraction(z: f64) -> f64 {
    (1..60).rev().map(f64::from).fold(z, |below, n| z + (n - 0.5) / (1.0 + n / below))
}
