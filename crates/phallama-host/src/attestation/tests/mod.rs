mod keeping;
mod refusals;
