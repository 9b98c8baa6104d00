//! In which order recipes are baked.
use crate::recipe::Recipe;

/// Recipes that start from one another in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recipes start from one another in a circle: {}", cycle.join(" -> "))]
pub struct Circular {
    /// The names along the circle; the first one again at the end.
    pub cycle: Vec<String>,
}

/// Groups of recipes by name: each group needs only images of earlier groups,
/// so its members can be baked side by side. A `from` that is not among
/// `recipes` counts as there already.
pub fn bake_order(recipes: &[Recipe]) -> Result<Vec<Vec<String>>, Circular> {
    let _ = recipes;
    todo!()
}
