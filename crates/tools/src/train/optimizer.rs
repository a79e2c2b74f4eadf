//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with a warm-up, a linear decay and clipped gradients.

use candle_core::backprop::GradStore;
use candle_core::{Result, Var};
use candle_nn::optim::{AdamW, Optimizer as _, ParamsAdamW};

/// Decay of matrices. Biases and norms are not decayed.
const WEIGHT_DECAY: f64 = 0.01;
/// Gradients are scaled to at most this norm, over all parameters.
const LARGEST_NORM: f64 = 1.0;
/// The learning rate rises over the first of so many equal parts of the steps.
const WARM_UP: usize = 10;

pub(super) struct Optimizer {
    vars: Vec<Var>,
    /// The optimiser of matrices, and that of all other parameters.
    parts: [AdamW; 2],
    rate: f64,
    steps: usize,
    taken: usize,
}

impl Optimizer {
    /// Plans `steps` steps. The largest learning rate among them is `rate`.
    pub(super) fn new(vars: &[Var], rate: f64, steps: usize) -> Result<Self> {
        let (matrices, rest): (Vec<Var>, Vec<Var>) = vars.iter().cloned().partition(|var| var.rank() > 1);
        let adam = |vars, weight_decay| {
            AdamW::new(vars, ParamsAdamW { lr: rate, weight_decay, ..ParamsAdamW::default() })
        };
        let parts = [adam(matrices, WEIGHT_DECAY)?, adam(rest, 0.0)?];
        Ok(Self { vars: vars.to_vec(), parts, rate, steps, taken: 0 })
    }

    pub(super) fn step(&mut self, mut gradients: GradStore) -> Result<()> {
        self.clip(&mut gradients)?;
        let rate = self.rate * schedule(self.taken, self.steps);
        self.taken += 1;
        for part in &mut self.parts {
            part.set_learning_rate(rate);
            part.step(&gradients)?;
        }
        Ok(())
    }

    fn clip(&self, gradients: &mut GradStore) -> Result<()> {
        let mut squares = 0.0;
        for var in &self.vars {
            if let Some(gradient) = gradients.get(var) {
                squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        let factor = LARGEST_NORM / squares.sqrt();
        // The comparison is false for a norm of NaN, too. The next loss reveals it.
        if factor < 1.0 {
            for var in &self.vars {
                if let Some(gradient) = gradients.remove(var) {
                    gradients.insert(var, (gradient * factor)?);
                }
            }
        }
        Ok(())
    }
}

/// Share of the learning rate at a step. It rises over the first tenth of the steps, then falls to nearly 0.
fn schedule(step: usize, steps: usize) -> f64 {
    let warm_up = steps / WARM_UP;
    if step < warm_up {
        return (step + 1) as f64 / (warm_up + 1) as f64;
    }
    steps.saturating_sub(step) as f64 / (steps - warm_up).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let rates: Vec<f64> = (0..30).map(|step| schedule(step, 30)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 26.0 / 27.0]);
        assert_eq!(rates[29], 1.0 / 27.0);
        assert_eq!(schedule(0, 1), 1.0);
    }
}
