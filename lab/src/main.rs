#[allow(dead_code)]
mod dns;

fn main() {}
