mod keeping;
mod refusals;
mod trying;
