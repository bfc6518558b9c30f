# How fast is hafail itself? A table of minimum, median and maximum over
# several runs. Sourced by scripts/bench.
# shellcheck shell=bash disable=SC2154

runs=5
case ${1-} in
'') ;;
--runs) runs=${2:?how many?} ;;
*) fail "unknown argument $1" "scripts/bench [--runs N]" ;;
esac

export HAFAIL_HOME=$work/home HAFAIL_TOPOLOGY=$root/topologies/two-regions.yaml
hafail-lab up # the host image is built here, once
hafail-lab down
image=$(voting/build-image)

# sample FILE VALUE: one more measurement, in milliseconds.
sample() { printf '%s\n' "$2" >>"$work/$1"; }
# timed FILE COMMAND…: how long the command took.
timed() {
    local name=$1 begin
    shift
    begin=$(date +%s%3N)
    "$@" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; fail "$* failed"; }
    sample "$name" $(($(date +%s%3N) - begin))
}

# Writes through the load balancer every 10 ms while a command runs; samples
# the longest gap between two acknowledged writes.
gap() {
    local name=$1
    shift
    hafail load --sql --duration 120s --output json >"$work/writer" 2>"$work/writer.log" &
    local writer=$!
    load_begins "$work/writer.log" "$writer"
    "$@"
    kill -INT "$writer"
    wait "$writer" || { cat "$work/writer" >&2; fail "the writer lost an acknowledged commit"; }
    sample "$name" "$(jq .longest_gap_ms "$work/writer")"
}

for run in $(seq "$runs"); do
    step "run $run of $runs: up, deploy, again, status"
    timed 'lab up' hafail-lab up
    eval "$(hafail-lab env)"
    push_voting "$image"
    timed 'deploy from nothing' hafail deploy --yes
    timed 'deploy again, 0 changes' hafail deploy --yes
    timed 'status' hafail status
    step "run $run of $runs: switchover, power cut, rejoin"
    gap 'switchover: longest write gap' hafail failover --region us-east-1 --yes
    region off us-east-1
    timed 'failover by command after a power cut' hafail failover --region eu-west-1 --yes --output json
    outage=$(jq -e .write_outage_ms "$work/out") || { cat "$work/out" >&2; fail "no write was seen after the failover"; }
    sample 'command to first accepted write' "$outage"
    region on us-east-1
    timed 'rejoin' hafail rejoin site2-db --yes
    hafail-lab down
    rm -rf "$HAFAIL_HOME"
done

printf '\n%-42s %9s %9s %9s  (ms, %s runs)\n' figure min median max "$runs"
for figure in 'lab up' 'deploy from nothing' 'deploy again, 0 changes' 'status' 'switchover: longest write gap' \
    'failover by command after a power cut' 'command to first accepted write' 'rejoin'; do
    sort -n "$work/$figure" | awk -v f="$figure" '{ v[NR] = $1 } END {
        printf "%-42s %9d %9d %9d\n", f, v[1], (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[NR] }'
done
