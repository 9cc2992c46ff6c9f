//! AdamW: the formats and rules of its states one by one, then mixed as recipes mix them.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = advances();
    let steps = ragged().into_iter().chain(mixed()).chain(scalars()).collect::<Vec<_>>();
    for step in &steps {
        cases.push(step.case("adamw", step.to_string()));
        cases.extend([0, 2, 5, 7].map(|chosen| step.stochastic(chosen)));
    }
    for step in ragged().iter().flat_map(Step::in_two) {
        cases.extend([step.case("adamw", step.to_string()), step.stochastic(3)]);
    }
    cases.extend(malformed());
    cases.extend(at_once());
    cases
}

/// The formats and rules that a state may have: all of one, and the numbers of its rules.
const STATES: [(DType, usize); 13] = [
    (F32, 0),
    (BF16, 0),
    (F16, 0),
    (F16, 1),
    (F16, 2),
    (E4M3, 0),
    (E4M3, 1),
    (E4M3, 2),
    (E4M3, EXPAND),
    (E5M2, 0),
    (E5M2, 1),
    (E5M2, 2),
    (E5M2, EXPAND),
];
const EXPAND: usize = 3;
/// Elements of a group under that rule.
const GROUP: usize = 128;

/// A launch.
#[derive(Clone)]
struct Step {
    values: Values,
    n: usize,
    grad: DType,
    /// Format and rule of master, m and v.
    states: [(DType, usize); 3],
    scalars: Scalars,
}

/// What a step has beside its tensors.
#[derive(Clone, Copy)]
struct Scalars {
    grad_scale_inv: f32,
    clip: f32,
    corrections: [f32; 2],
    skip: u32,
    scale: f32,
    lr: f32,
    eps: f32,
    decay: f32,
    amaxes: [f32; 3],
    phases: usize,
}

const USUAL: Scalars = Scalars {
    grad_scale_inv: 0.37,
    clip: 0.81,
    corrections: [0.271, 0.142_625],
    skip: 0,
    scale: 3.7,
    lr: 3e-3,
    eps: 1e-8,
    decay: 0.999_7,
    amaxes: [3.7, 0.02, 5e-4],
    phases: 3,
};

/// Every format and rule of each state, every kind of values, and lengths around those of groups and blocks.
fn ragged() -> Vec<Step> {
    let mut steps = Vec::new();
    for (i, n) in [0, 1, 7, 8, 127, 128, 129, 2051, 8192, 8195].into_iter().enumerate() {
        for (j, values) in Values::ALL.into_iter().enumerate() {
            // Steps of 4 and 7 among 13 states, and of 2 among 5 formats, meet them all.
            let state = |k: usize| STATES[(i + 3 * j + k) % STATES.len()];
            let grad = [F32, BF16, F16, E4M3, E5M2][(i + 2 * j) % 5];
            let states = [state(0), state(4), state(7)];
            steps.push(Step { values, n, grad, states, scalars: USUAL });
        }
    }
    steps
}

/// Each format and rule as each of the states, beside what recipes keep the others in.
fn mixed() -> Vec<Step> {
    let usual = [(F16, 1), (E4M3, 2), (F16, 2)];
    let plain = [(F32, 0), (F32, 0), (F32, 0)];
    let mut steps = Vec::new();
    for (number, state) in STATES.into_iter().enumerate() {
        for place in 0..3 {
            for mut states in [usual, plain] {
                states[place] = state;
                let values = Values::ALL[(number + place) % Values::ALL.len()];
                let grad = [E4M3, E5M2, F32][(number + 2 * place) % 3];
                steps.push(Step { values, n: 300, grad, states, scalars: USUAL });
            }
        }
    }
    steps
}

/// Steps that are skipped or clipped to nothing, and scales and corrections at their limits.
fn scalars() -> Vec<Step> {
    let expanded = [(E4M3, EXPAND), (E4M3, EXPAND), (E5M2, EXPAND)];
    let states = [[(F16, 1), (E4M3, 1), (E5M2, 2)], expanded];
    let choices = [
        Scalars { skip: 1, ..USUAL },
        Scalars { skip: u32::MAX, ..USUAL },
        Scalars { clip: 0.0, ..USUAL },
        Scalars { eps: 0.0, decay: 1.0, ..USUAL },
        Scalars { grad_scale_inv: f32::INFINITY, ..USUAL },
        Scalars { grad_scale_inv: 1e-30, scale: 1e-36, ..USUAL },
        Scalars { grad_scale_inv: 1e-38, scale: 3e38, ..USUAL },
        Scalars { scale: 0.0, ..USUAL },
        Scalars { scale: f32::NAN, ..USUAL },
        Scalars { corrections: [0.0, 0.0], ..USUAL },
        Scalars { corrections: [1.0, 1.0], lr: 0.0, ..USUAL },
        Scalars { lr: 1e30, ..USUAL },
        Scalars { phases: 1, skip: 1, ..USUAL },
        Scalars { phases: 2, skip: 1, ..USUAL },
        Scalars { phases: 2, amaxes: [f32::INFINITY, 0.0, 1e-44], ..USUAL },
    ];
    let mut steps = Vec::new();
    for states in states {
        for scalars in choices {
            for values in [Values::Ordinary, Values::Special] {
                steps.push(Step { values, n: 259, grad: E5M2, states, scalars });
            }
        }
    }
    steps
}

impl Step {
    fn case(&self, kernel: &'static str, about: String) -> Case {
        let Scalars {
            grad_scale_inv, clip, corrections, skip, lr, eps, decay, amaxes, phases, ..
        } = self.scalars;
        let case = Case::new(kernel, about).read(self.values.data(self.grad, self.n, 1));
        let case = case.read(Data::of(&[grad_scale_inv])).read(Data::of(&[clip]));
        let case = case.read(Data::of(&corrections)).read(Data::of(&[skip]));
        let case = (0..).zip(self.states).fold(case, |case, (place, state)| {
            case.update(self.state(place, state.0)).update(self.scale(state.1))
        });
        let case = self.states.iter().fold(case, |case, (_, rule)| case.u32(*rule));
        let case = case.f32(lr).f32(0.9).f32(0.95).f32(eps).f32(decay);
        case.update(Data::of(&amaxes)).u32(phases)
    }

    /// The step in two launches, the second by amaxes that are not those of the first.
    fn in_two(&self) -> [Step; 2] {
        [1, 2].map(|phases| Step { scalars: Scalars { phases, ..self.scalars }, ..self.clone() })
    }

    fn stochastic(&self, chosen: usize) -> Case {
        let case = self.case("adamw_stochastic", format!("{self}, {chosen:#b} at random"));
        let case = case.u32(chosen).u64(0xFEDC_BA98_7654_3210).u32(11).u32(0x7FFF_FFFF);
        // From every place in a block of four words.
        case.u64(0xFFFF_FFF0 + (chosen as u64 + self.n as u64) % 4)
    }

    /// The second moment is of squares.
    fn state(&self, place: u64, dtype: DType) -> Data {
        let mut data = self.values.data(dtype, self.n, 2 + place);
        if place == 2 {
            let width = dtype.bytes();
            data.bytes.chunks_mut(width).for_each(|element| element[width - 1] &= 0x7F);
        }
        data
    }

    /// One scale, or for each group its largest magnitude and exponent.
    fn scale(&self, rule: usize) -> Data {
        if rule != EXPAND {
            return Data::of(&[self.scalars.scale]);
        }
        let pair = |group: usize| [0.03 * (1 + group) as f32, (1 + 5 * group) as f32 / 8.0];
        let pairs = (0..self.n.div_ceil(GROUP)).flat_map(pair);
        Data::of(&pairs.collect::<Vec<_>>())
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { values, n, grad, states, scalars: Scalars { skip, clip, scale, phases, .. } } =
            self;
        write!(f, "{values}, {n}, gradient {grad}, states")?;
        for (dtype, rule) in states {
            write!(f, " {dtype} by rule {rule}")?;
        }
        write!(f, ", scales {scale}, clip {clip}, skip {skip}, phases {phases}")
    }
}

fn advances() -> Vec<Case> {
    let mut cases = Vec::new();
    for skip in [0u32, 1, 7] {
        for powers in [[1.0, 1.0], [0.9, 0.95], [0.3e-9, 0.8], [1e-310, 0.0], [2.0, f64::INFINITY]]
        {
            let case = Case::new("adamw_advance", format!("powers {powers:?}, skip {skip}"));
            let case = case.read(Data::of(&[skip])).update(Data::of(&powers)).write(F32, 2);
            cases.push(case.f32(0.9).f32(0.999));
        }
    }
    let case = |skips: &[u32], powers: &[f64], corrections| {
        let about = format!("{} skips, {} powers, {corrections}", skips.len(), powers.len());
        let case = Case::new("adamw_advance", about).read(Data::of(skips));
        case.update(Data::of(powers)).write(F32, corrections).f32(0.9).f32(0.95)
    };
    cases.extend([case(&[0, 0], &[1.0; 2], 2), case(&[0], &[1.0; 3], 2), case(&[], &[1.0; 1], 2)]);
    cases.extend([case(&[0], &[1.0; 2], 1), case(&[], &[], 0)]);
    cases
}

/// Launches that a device may merge: of every length, format and rule, empty and skipped ones among them.
fn at_once() -> Vec<Case> {
    let steps: Vec<_> = ragged().into_iter().chain(scalars()).chain(mixed()).collect();
    let plain = |step: &Step| step.case("adamw", step.to_string());
    let chosen = |(number, step): (usize, &Step)| step.stochastic(number % 8);
    let stochastic: Vec<_> = steps.iter().enumerate().map(chosen).collect();
    let plain: Vec<_> = steps.iter().map(plain).collect();
    // Of the two kernels in turn, so that there are runs of 1, 2, 3 and more launches.
    let turns = plain.iter().zip(&stochastic).enumerate().map(|(number, (plain, stochastic))| {
        let is_plain = number.isqrt() % 2 == 0;
        (if is_plain { plain } else { stochastic }).clone()
    });
    let wrong = plain[9].clone().resized(5, 1_000);
    let refused = [&plain[..9], &[wrong], &plain[10..20]].concat();
    let slices = [
        ("all to the nearest", plain.clone()),
        ("all at random", stochastic.clone()),
        ("two alone", plain[..2].to_vec()),
        ("two kernels in turn", turns.collect()),
        ("one is refused", refused),
    ];
    slices.map(|(about, slice)| together(about, slice)).into()
}

fn together(about: &str, slice: Vec<Case>) -> Case {
    let about = format!("{} at once, {about}", slice.len());
    let mut slice = slice.into_iter();
    let first = slice.next().expect("a slice has launches");
    first.renamed(about).with(slice)
}

/// Launches that are refused: rules that a format does not take or that do not exist, and wrong lengths.
fn malformed() -> Vec<Case> {
    let step =
        |states| Step { values: Values::Ordinary, n: 130, grad: F32, states, scalars: USUAL };
    let right = [(E4M3, EXPAND), (F16, 1), (F32, 0)];
    let mut cases = Vec::new();
    for wrong in [(F32, 1), (BF16, 2), (F32, EXPAND), (F16, EXPAND), (E4M3, 4), (F32, 9)] {
        for place in 0..3 {
            let mut states = right;
            states[place] = wrong;
            let step = step(states);
            cases.push(step.case("adamw", step.to_string()));
            cases.push(step.stochastic(1));
        }
    }
    for phases in [0, 4] {
        let step = Step { scalars: Scalars { phases, ..USUAL }, ..step(right) };
        cases.extend([step.case("adamw", step.to_string()), step.stochastic(1)]);
    }
    for place in (0..11).chain([19]) {
        for elements in [0, 3] {
            let about = format!("{elements} elements as argument {place}");
            cases.push(step(right).case("adamw", about).resized(place, elements));
        }
    }
    cases
}
