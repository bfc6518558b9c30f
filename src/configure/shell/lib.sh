# Sent in front of every script that hafail runs on a host. Data comes in
# variables and on standard input, never in arguments that others can see.
set -uo pipefail
cd /
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
declare -A PACKAGE STAT SUM ACTIVE ENABLED STALE LOADED BOX IMAGE
WHY='' OLD='' SOMETHING_TO_DO=''
OK=0 TODO=10 SKIPPED=11 CHANGED=12 UNTOLD=13
PENDING=/var/lib/hafail-configure/pending

# What a step turned out to be: number, word, why, and in a dry run the file
# as it is.
emit() {
    local why='' old=''
    [ ${#WHY} -le 12000 ] || WHY=${WHY: -12000}
    [ -z "$WHY" ] || why=$(printf %s "$WHY" | base64 -w0)
    [ -z "$OLD" ] || old=$(head -c 262144 -- "$OLD" 2>/dev/null | base64 -w0)
    printf '%s %s %s %s %s\n' "$MARK" "$1" "$2" "${why:--}" "${old:--}"
}

verdict() {
    case $2 in
        "$OK") emit "$1" ok ;;
        "$TODO") emit "$1" todo; SOMETHING_TO_DO=1; [ -n "$DRY" ] || exit 0 ;;
        "$SKIPPED") emit "$1" skipped ;;
        "$UNTOLD") emit "$1" untold ;;
        "$CHANGED") emit "$1" changed; exit 0 ;;
        *) emit "$1" failed; [ -n "$DRY" ] || exit 0 ;;
    esac
}

# Looks whether a step has anything to do; stops at the first that has.
check() { WHY='' OLD=''; "check_$1"; verdict "$1" $?; }

# Does a step; what follows is then looked at anew.
act() {
    local code
    WHY='' OLD=''; "act_$1"; code=$?
    case $code in
        "$OK") emit "$1" ok ;;
        "$SKIPPED") emit "$1" skipped ;;
        "$CHANGED") emit "$1" changed ;;
        *) emit "$1" failed; exit 0 ;;
    esac
    WHY=''
}

# What cannot be said in a dry run once an earlier step would change things.
after_changes() { [ -n "$DRY" ] && [ -n "$SOMETHING_TO_DO" ]; }

seconds_up() { local up; read -r up _ < /proc/uptime; printf %s "${up%.*}"; }

# Handlers that wait are remembered on the host until they have run.
pend() { mkdir -p "$PENDING" && (cd "$PENDING" && touch -- "$@"); }
unpend() { rm -f -- "$PENDING/$1"; }
say_pending() {
    local key
    for key in "$@"; do
        [ ! -e "$PENDING/$key" ] || printf '%s pending %s - -\n' "$MARK" "$key"
    done
}
none_pending() {
    local key
    for key in "$@"; do
        [ ! -e "$PENDING/$key" ] || { WHY='handlers wait'; return $TODO; }
    done
}

# --- looking at many things at once ---------------------------------------

look_packages() {
    local name status
    while read -r name status; do PACKAGE[$name]=$status; done \
        < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' -- "$@" 2>/dev/null)
}

look_files() {
    local mode owner group kind sum path
    while read -r mode owner group kind path; do
        STAT[$path]="$mode $owner $group ${kind:0:1}"
    done < <(stat -L -c '%a %U %G %f %n' -- "$@" 2>/dev/null)
    while read -r sum path; do SUM[$path]=$sum; done \
        < <(sha256sum -- "$@" 2>/dev/null)
}

look_units() {
    local names=("$@") index=0 line unit
    while IFS= read -r line; do
        unit=${names[index]-}
        case $line in
            '') index=$((index + 1)) ;;
            LoadState=*) LOADED[$unit]=${line#*=} ;;
            ActiveState=*) ACTIVE[$unit]=${line#*=} ;;
            UnitFileState=*) ENABLED[$unit]=${line#*=} ;;
            NeedDaemonReload=*) STALE[$unit]=${line#*=} ;;
        esac
    done < <(systemctl show -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload -- "$@" 2>/dev/null)
}

look_boxes() {
    local name rest
    command -v docker > /dev/null || return 0
    while read -r name rest; do [ -z "$name" ] || BOX[${name#/}]=$rest; done < <(docker inspect --type container \
        -f '{{.Name}} {{.Image}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{index .Config.Labels "hafail.spec"}}' \
        -- "$@" 2>/dev/null)
}

# --- packages --------------------------------------------------------------

packages_are() {
    local name missing=''
    for name in "$@"; do
        [ "${PACKAGE[$name]-}" = installed ] || missing+=" $name"
    done
    [ -z "$missing" ] || { WHY="not installed:$missing"; return $TODO; }
}

# Services do not start by themselves: the policy lasts as long as this shell.
install_packages() {
    local out policy=/usr/sbin/policy-rc.d made=''
    if [ ! -e "$policy" ] || grep -qs 'made by hafail' "$policy"; then
        printf '#!/bin/sh\n# made by hafail\n[ -d /proc/%s ] && exit 101\nexit 0\n' $$ > "$policy" \
            && chmod 755 "$policy" && made=1
    fi
    if ! out=$(apt_install "$@" 2>&1); then
        out=$({ dpkg --configure -a; apt_get update && apt_install "$@"; } 2>&1) || {
            [ -z "$made" ] || rm -f "$policy"
            WHY=$(tail -n 12 <<< "$out")
            return 1
        }
    fi
    [ -z "$made" ] || rm -f "$policy"
    WHY="installed: $*"
    return $CHANGED
}
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" < /dev/null; }
apt_install() {
    apt_get -y --no-install-recommends -o Dpkg::Options::=--force-confold install -- "$@"
}

# --- files -----------------------------------------------------------------

# path, SHA-256, mode, owner, group
file_is() {
    local have=${STAT[$1]-}
    [ -n "$have" ] || { WHY='does not exist'; return $TODO; }
    [ "${SUM[$1]-}" = "$2" ] || { WHY='the content differs'; [ -z "$DRY" ] || OLD=$1; return $TODO; }
    [ "$have" = "$3 $4 $5 8" ] || { WHY="is ${have% *}, shall be $3 $4 $5"; [ -z "$DRY" ] || OLD=$1; return $TODO; }
}

# path, mode, owner, group
directory_is() {
    local have=${STAT[$1]-}
    [ -n "$have" ] || { WHY='does not exist'; return $TODO; }
    [ "${have##* }" = 4 ] || { WHY='is no directory'; return 1; }
    [ "$have" = "$2 $3 $4 4" ] || { WHY="is ${have% *}, shall be $2 $3 $4"; return $TODO; }
}

make_directory() {
    WHY=$({ mkdir -p -- "$1" && chown -- "$3:$4" "$1" && chmod -- "$2" "$1"; } 2>&1) || return 1
    return $CHANGED
}

absent_is() { [ -e "$1" ] || [ -L "$1" ] || return $OK; WHY='exists'; return $TODO; }
make_absent() {
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        WHY=$(rmdir -- "$1" 2>&1) || return 1
    else
        WHY=$(rm -f -- "$1" 2>&1) || return 1
    fi
    return $CHANGED
}

is_mount_point() { awk -v path="$1" '$5 == path { found = 1 } END { exit !found }' /proc/self/mountinfo; }

# path, mode, owner, group, check; the content is in $CONTENT
put() {
    local path dir temp out
    path=$(readlink -m -- "$1") && dir=$(dirname -- "$path")
    [ ! -d "$path" ] || { WHY='is a directory'; return 1; }
    WHY=$(mkdir -p -- "$dir" 2>&1) || return 1
    if is_mount_point "$path"; then put_in_place "$path"; return; fi
    temp=$(mktemp -- "$dir/.hafail.XXXXXXXX" 2>&1) || { WHY=$temp; return 1; }
    out=$({ printf %s "$CONTENT" > "$temp" && chown -- "$3:$4" "$temp" \
        && chmod -- "$2" "$temp" && sync -- "$temp"; } 2>&1) \
        || { rm -f -- "$temp"; WHY=$out; return 1; }
    if [ -n "$5" ]; then
        out=$(FILE=$temp timeout -k 2 60 bash -euo pipefail -c "$5" < /dev/null 2>&1) \
            || { rm -f -- "$temp"; WHY="its check refuses the new file: $out"; return 1; }
    fi
    out=$(mv -fT -- "$temp" "$path" 2>&1) || { rm -f -- "$temp"; WHY=$out; return 1; }
    return $CHANGED
}

# A mount point cannot be replaced; a write that fails is taken back.
put_in_place() {
    local old out
    old=$(cat -- "$1" && echo x)
    out=$({ printf %s "$CONTENT" > "$1"; } 2>&1) && return $CHANGED
    printf %s "${old%x}" > "$1"
    WHY=$out
    return 1
}

# The file with the block in front and without an earlier one.
with_block() {
    printf '%s\n' "$BLOCK"
    [ ! -e "$1" ] || awk '/^# BEGIN hafail$/ { skip = 1 } !skip { print } /^# END hafail$/ { skip = 0 }' "$1"
}
block_is() {
    [ "$(with_block "$1")" != "$(cat -- "$1" 2>/dev/null)" ] || return $OK
    WHY='the block differs'
    [ -z "$DRY" ] || OLD=$1
    return $TODO
}
put_block() {
    local path
    path=$(readlink -m -- "$1")
    CONTENT=$(with_block "$path")$'\n'
    if [ -e "$path" ]; then put_in_place "$path"; else put "$path" 644 root root ''; fi
}

# --- services --------------------------------------------------------------

# unit, state or -, yes or no or -
unit_is() {
    local active=${ACTIVE[$1]-} enabled=${ENABLED[$1]-}
    if [ "${LOADED[$1]-}" = not-found ] && [ "$2" = stopped ]; then return $OK; fi
    [ "${STALE[$1]-}" != yes ] || { WHY='its unit file has changed'; return $TODO; }
    case $2:$active in
        started:active | started:reloading | stopped:inactive | stopped:failed | -:*) ;;
        restarted:* | reloaded:*) WHY="is to be $2"; return $TODO ;;
        *) WHY="is ${active:-unknown}"; return $TODO ;;
    esac
    case $3:$enabled in
        -:* | yes:enabled | yes:static | yes:generated | yes:alias | yes:indirect) ;;
        no:disabled | no:masked | no:static | no:generated | no:indirect | no:) ;;
        *) WHY="is ${enabled:-not known to systemd}"; return $TODO ;;
    esac
}

make_unit() {
    local out
    out=$(systemctl daemon-reload 2>&1) || { WHY=$out; return 1; }
    case $3 in
        yes) out=$(systemctl enable -- "$1" 2>&1) || { WHY=$out; return 1; } ;;
        no) out=$(systemctl disable -- "$1" 2>&1) || { WHY=$out; return 1; } ;;
    esac
    systemctl reset-failed -- "$1" 2> /dev/null
    case $2 in
        started) out=$(systemctl start -- "$1" 2>&1) ;;
        stopped) out=$(systemctl stop -- "$1" 2>&1) ;;
        restarted) out=$(systemctl restart -- "$1" 2>&1) ;;
        reloaded) out=$(systemctl reload-or-restart -- "$1" 2>&1) ;;
        -) return $CHANGED ;;
    esac || { WHY="$out"$'\n'"$(journalctl -u "$1" -n 15 -o cat --no-pager 2>/dev/null)"; return 1; }
    if [ "$2" != stopped ] && ! systemctl -q is-active -- "$1"; then
        WHY="ended at once"$'\n'"$(journalctl -u "$1" -n 15 -o cat --no-pager 2>/dev/null)"
        return 1
    fi
    return $CHANGED
}

# --- containers --------------------------------------------------------------

# Fetches the image as asked (always, missing, never) and remembers its id.
look_image() {
    local out
    [ -z "${IMAGE[$1]-}" ] || return 0
    if [ "$2" = always ] && [ -z "$DRY" ] && [[ " $PULLED " != *" $1 "* ]]; then
        out=$(docker pull -q -- "$1" 2>&1) || { WHY="cannot pull $1: $out"; return 1; }
        printf '%s pulled %s - -\n' "$MARK" "$1"
        PULLED+=" $1"
    fi
    IMAGE[$1]=$(docker image inspect -f '{{.Id}}' -- "$1" 2>/dev/null) && return 0
    [ "$2" != never ] || { WHY="the image $1 is not on the host"; return 1; }
    [ -z "$DRY" ] || { IMAGE[$1]=unknown; return 0; }
    out=$(docker pull -q -- "$1" 2>&1) || { WHY="cannot pull $1: $out"; return 1; }
    IMAGE[$1]=$(docker image inspect -f '{{.Id}}' -- "$1")
}

# name, image, pull, specification, restart
box_is() {
    local have=${BOX[$1]-} id state health spec
    command -v docker > /dev/null || { WHY='Docker is not installed'; return $TODO; }
    look_image "$2" "$3" || return 1
    [ -n "$have" ] || { WHY='does not exist'; return $TODO; }
    read -r id state health spec <<< "$have"
    [ "$spec" = "$4" ] || { WHY='its specification differs'; return $TODO; }
    [ "$id" = "${IMAGE[$2]}" ] || { WHY='its image has changed'; return $TODO; }
    [ "$state" = running ] || { WHY="is $state"; return $TODO; }
    box_is_kept "$1" "$4" "$5" || { WHY='is not kept running'; return $TODO; }
}

# What the keeper of containers on the host needs to make one anew is below
# this directory, by name; only of those that are to run always.
KEPT=/var/lib/hafail-containers
box_is_kept() {
    [ "$3" != always ] || [ "$(cat "$KEPT/$1/spec" 2> /dev/null)" = "$2" ]
}
# name, image, specification, restart; the rest as for make_box
keep_box() {
    local old
    old=$(umask)
    umask 077
    rm -rf -- "${KEPT:?}/$1"
    if [ "$4" = always ]; then
        WHY=$({ mkdir -p -- "$KEPT/$1" \
            && printf '%s\0' "${OPTIONS[@]}" > "$KEPT/$1/options" \
            && if [ ${#COMMAND[@]} -gt 0 ]; then printf '%s\0' "${COMMAND[@]}"; fi > "$KEPT/$1/command" \
            && printf %s "$ENVIRONMENT" > "$KEPT/$1/environment" \
            && printf '%s\n' "$2" > "$KEPT/$1/image" \
            && printf '%s\n' "$3" > "$KEPT/$1/spec"; } 2>&1) || { umask "$old"; return 1; }
    fi
    umask "$old"
}
# The keeper stands back while this works.
alone_with_boxes() {
    local code
    {
        flock 9
        "$@"
        code=$?
    } 9> /run/hafail-containers.lock
    return $code
}
make_box() { alone_with_boxes make_box_alone "$@"; }

# The same; options are in ${OPTIONS[@]}, arguments in ${COMMAND[@]},
# environment in $ENVIRONMENT; before the restart comes the time to get ready in
# seconds.
make_box_alone() {
    local file out old=''
    command -v docker > /dev/null || { WHY='Docker is not installed'; return 1; }
    look_image "$2" "$3" || return 1
    look_boxes "$1"
    if [ -n "${BOX[$1]-}" ]; then
        if box_is "$1" "$2" "$3" "$4" "$6"; then return $OK; fi
        case $WHY in
            'is exited' | 'is created') WHY=$(docker start -- "$1" 2>&1) && keep_box "$1" "$2" "$4" "$6" || return 1; return $CHANGED ;;
            'is paused') WHY=$(docker unpause -- "$1" 2>&1) && keep_box "$1" "$2" "$4" "$6" || return 1; return $CHANGED ;;
            'is not kept running') keep_box "$1" "$2" "$4" "$6" || return 1; return $CHANGED ;;
        esac
        old=1
        docker rm -f -- "$1.previous" > /dev/null 2>&1
        WHY=$({ docker stop -t 10 -- "$1" && docker rename "$1" "$1.previous"; } 2>&1) || return 1
    fi
    file=$(mktemp /run/hafail.env.XXXXXXXX) && printf %s "$ENVIRONMENT" > "$file"
    if out=$(docker run -d --name "$1" --label "hafail.spec=$4" --env-file "$file" \
        "${OPTIONS[@]}" "$2" "${COMMAND[@]}" 2>&1 > /dev/null); then
        rm -f -- "$file"
        if [ -z "$old" ] || box_ready "$1" "$5"; then
            docker rm -f -- "$1.previous" > /dev/null 2>&1
            keep_box "$1" "$2" "$4" "$6" || return 1
            WHY=''
            return $CHANGED
        fi
        out=$WHY
    fi
    rm -f -- "$file"
    docker rm -f -- "$1" > /dev/null 2>&1
    WHY=$out
    if [ -n "$old" ] && docker rename "$1.previous" "$1" && docker start "$1" > /dev/null; then
        WHY+=$'\nthe previous container runs again'
    fi
    return 1
}

# Whether containers are healthy now.
boxes_are_ready() {
    local name id state health spec
    for name in "$@"; do
        read -r id state health spec <<< "${BOX[$name]-}"
        case ${state-}:${health-} in
            running:healthy | running:none) ;;
            *) WHY="$name is ${state:-not there} (${health:-none})"; return $TODO ;;
        esac
    done
}

# Waits until a container is healthy: name, seconds.
box_ready() {
    local until=$(($(seconds_up) + $2))
    while :; do
        BOX[$1]=''
        look_boxes "$1"
        if boxes_are_ready "$1"; then WHY=''; return $OK; fi
        [ "$(seconds_up)" -lt "$until" ] || break
        sleep 0.2
    done
    WHY+=" after $2 s"$'\n'"$(docker inspect -f '{{if .State.Health}}{{range .State.Health.Log}}{{.Output}}{{end}}{{end}}' -- "$1" 2>/dev/null | tail -n 4)"
    WHY+=$'\n'"$(docker logs --tail 15 -- "$1" 2>&1)"
    return 1
}
boxes_ready() {
    local limit=$1 name
    shift
    for name in "$@"; do box_ready "$name" "$limit" || return 1; done
}

# Containers whose name matches ${UNWANTED[@]} and is not among ${WANTED[@]}.
superfluous_boxes() {
    local name pattern wanted
    command -v docker > /dev/null || return 0
    while read -r name; do
        for wanted in "${WANTED[@]}"; do [ "$name" != "$wanted" ] || continue 2; done
        for pattern in "${UNWANTED[@]}"; do
            # shellcheck disable=SC2053 # it is a pattern
            if [[ $name == $pattern ]]; then printf '%s\n' "$name"; break; fi
        done
    done < <(docker ps -a --format '{{.Names}}')
}
boxes_are_absent() {
    local names
    names=$(superfluous_boxes)
    [ -z "$names" ] || { WHY="exist: ${names//$'\n'/ }"; return $TODO; }
}
remove_boxes() { alone_with_boxes remove_boxes_alone; }
remove_boxes_alone() {
    local names name
    mapfile -t names < <(superfluous_boxes)
    for name in "${names[@]}"; do rm -rf -- "${KEPT:?}/$name"; done
    WHY=$({ docker stop -t 10 -- "${names[@]}" && docker rm -f -- "${names[@]}"; } 2>&1) || return 1
    WHY="removed: ${names[*]}"
    return $CHANGED
}

# --- scripts and statements --------------------------------------------------

# user or -, seconds, script
as_user() {
    if [ "$1" = - ]; then
        timeout -k 5 "$2" bash -euo pipefail -c "$3"
    else
        timeout -k 5 "$2" runuser -u "$1" -- bash -euo pipefail -c "$3"
    fi
}

# Whether there is nothing to do: $CREATES, $UNLESS, $ONLY_IF; user.
run_is() {
    if [ -n "$ONLY_IF" ] && ! as_user "$1" 60 "$ONLY_IF" < /dev/null > /dev/null 2>&1; then
        WHY='its `only_if` does not hold'
        return $SKIPPED
    fi
    if [ -n "$CREATES" ] && [ -e "$CREATES" ]; then return $OK; fi
    if [ -n "$UNLESS" ] && as_user "$1" 60 "$UNLESS" < /dev/null > /dev/null 2>&1; then return $OK; fi
    WHY='is to be run'
    return $TODO
}

# user, seconds, how changes show (always, never, status N, output); $SCRIPT,
# $INPUT and the environment set by the function named last.
run_script() {
    local out code
    out=$("$5"; as_user "$1" "$2" "$SCRIPT" < <(printf %s "$INPUT") 2>&1)
    code=$?
    WHY=$out
    case $3:$code in
        status:"$4") return $CHANGED ;;
        always:0) return $CHANGED ;;
        never:0 | status:0) return $OK ;;
        output:0) [[ $out == *"$4"* ]] && return $CHANGED; return $OK ;;
        *:124) WHY="did not end within $2 s"$'\n'"$out"; return 1 ;;
        *) WHY="exit status $code"$'\n'"$out"; return 1 ;;
    esac
}

# database, port, socket directory or -; the statement on standard input.
local_sql() {
    local where=()
    [ "$3" = - ] || where=(-h "$3")
    { printf '%s\n' "SET log_statement = 'none'; SET log_min_error_statement = 'panic'; SET log_min_duration_statement = -1;"; cat; } \
        | timeout -k 2 110 runuser -u postgres -- psql -X -q -At -v ON_ERROR_STOP=1 -v VERBOSITY=terse \
            -p "$2" -d "$1" "${where[@]}" 2>&1
}
sql_is() {
    local out
    out=$(printf %s "$UNLESS" | local_sql "$@") || { WHY="cannot ask: $out"; return $TODO; }
    [ -n "$out" ] || { WHY='is to be run'; return $TODO; }
}
run_sql() {
    WHY=$(printf %s "$STATEMENT" | local_sql "$@") || return 1
    return $CHANGED
}

# --- waiting -----------------------------------------------------------------

# Waits until the function holds: seconds, function and arguments.
wait_until() {
    local limit=$1 until
    shift
    until=$(($(seconds_up) + limit))
    while :; do
        if "$@"; then WHY=''; return $OK; fi
        [ "$(seconds_up)" -lt "$until" ] || break
        sleep 0.1
    done
    WHY="not so within $limit s: $WHY"
    return 1
}
holds() { if "$@"; then WHY=''; else return $TODO; fi; }

# The last part of the first line.
first_reason() {
    local line=${1%%$'\n'*}
    printf %s "${line##*: }"
}

port_open() {
    local out
    out=$(timeout 2 bash -c 'exec 3<> "/dev/tcp/$0/$1"' "$1" "$2" 2>&1) && return 0
    WHY="port $2 of $1: $(first_reason "$out")"
    return 1
}
port_closed() {
    getent ahosts "$1" > /dev/null || { WHY="the name $1 is not known"; return 1; }
    port_open "$1" "$2" || return 0
    WHY="port $2 of $1 accepts connections"
    return 1
}

# URL, status, text or empty
http_answers() {
    local out status
    out=$(curl -sS -m 3 -w '\n%{http_code}' -- "$1" 2>&1) || { WHY=$(tail -n 2 <<< "$out"); return 1; }
    status=${out##*$'\n'}
    [ "$status" = "$2" ] || { WHY="$1 answered $status"; return 1; }
    [ -z "$3" ] || [[ ${out%$'\n'*} == *"$3"* ]] || { WHY="the answer of $1 does not contain \`$3\`"; return 1; }
}

# database, host, port, user; the query in $QUERY, the password in $PASSWORD
sql_answers() {
    local out
    if [ "$2" = - ]; then
        out=$(printf %s "$QUERY" | local_sql "$1" "$3" -)
    else
        out=$(printf %s "$QUERY" | PGPASSWORD=$PASSWORD PGCONNECT_TIMEOUT=3 timeout -k 1 10 \
            psql -X -q -At -w -v ON_ERROR_STOP=1 -h "$2" -p "$3" -U "$4" -d "$1" 2>&1)
    fi || { WHY=${out:-no answer}; return 1; }
    [ -n "$out" ] || { WHY='the query gives no row'; return 1; }
}

# host, port; the request in $REQUEST, the expected text in $ANSWER
redis_answers() {
    local out
    out=$(REQUEST=$REQUEST timeout 3 bash -c \
        'exec 3<> "/dev/tcp/$0/$1" && printf %b "$REQUEST" >&3 && cat <&3' "$1" "$2" 2>&1) \
        || { WHY="no answer from $1:$2: $(first_reason "$out")"; return 1; }
    [[ $out == *"$ANSWER"* ]] || { WHY="$1:$2 answered: ${out//$'\r'/}"; return 1; }
}

script_holds() {
    local out
    out=$(timeout -k 2 30 bash -euo pipefail -c "$SCRIPT" < /dev/null 2>&1) || { WHY=${out:-the script fails}; return 1; }
}

# $SCRIPT, $MESSAGE
assert_holds() {
    if after_changes; then WHY='can be told only after the changes before it'; return $UNTOLD; fi
    script_holds || { WHY="$MESSAGE"$'\n'"$WHY"; return 1; }
    WHY=''
}
