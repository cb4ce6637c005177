mod intel;
mod keeping;
mod refusals;
mod trying;
