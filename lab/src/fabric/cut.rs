//! Cuts a VPC from everything else, for a time that the kernel keeps.

use std::collections::BTreeSet;

use super::apply::{FabricError, cannot};
use super::internet::Internet;
use super::namespace;
use super::plan::GATEWAY_LINK;
use crate::settings::Settings;

/// Drops everything that passes between a VPC and the internet or a peer, open
/// connections included, for `seconds`. Inside the VPC everything goes on. The
/// cut ends by itself, whatever becomes of the lab.
///
/// # Errors
/// When the VPC is not there or the kernel refuses.
pub async fn cut(settings: &Settings, vpc: &str, seconds: u32) -> Result<(), FabricError> {
    let router = Internet::new(settings).vpc_namespace(vpc);
    let step = || async {
        let links = outward(namespace::links(&router).await?);
        namespace::load_filter(&router, &rules(&links, seconds)).await
    };
    step().await.map_err(cannot(format!("cut {vpc}")))
}

/// Ends a cut before its time.
///
/// # Errors
/// As [`cut`].
pub async fn mend(settings: &Settings, vpc: &str) -> Result<(), FabricError> {
    let router = Internet::new(settings).vpc_namespace(vpc);
    let gone = "table ip lab_fault\ndelete table ip lab_fault\n";
    let mended = namespace::load_filter(&router, gone).await;
    mended.map_err(cannot(format!("mend {vpc}")))
}

/// Those links that lead out of a VPC.
fn outward(links: BTreeSet<String>) -> Vec<String> {
    let is_outward = |name: &String| name == GATEWAY_LINK || name.starts_with('p');
    links.into_iter().filter(is_outward).collect()
}

fn rules(links: &[String], seconds: u32) -> String {
    let elements: Vec<String> = links
        .iter()
        .map(|link| format!("\"{link}\" timeout {seconds}s"))
        .collect();
    let elements = match elements.is_empty() {
        true => String::new(),
        false => format!("elements = {{ {} }}", elements.join(", ")),
    };
    format!(
        "table ip lab_fault\ndelete table ip lab_fault\ntable ip lab_fault {{\n  \
         set links {{ type ifname; flags timeout; {elements} }}\n  \
         chain forward {{ type filter hook forward priority filter - 10; policy accept;\n    \
         iifname @links drop\n    oifname @links drop\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_instances_are_not_cut() {
        let links = ["lo", "own", "igw", "i0123456789abc", "p36364182f0abb"];
        let links = links.map(str::to_owned).into();
        assert_eq!(outward(links), ["igw", "p36364182f0abb"]);
    }
}
