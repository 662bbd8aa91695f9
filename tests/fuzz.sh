#!/bin/sh
# Fuzzes what reads from outside. Usage: tests/fuzz.sh SECONDS [TARGET...]
# Each target in tests/fuzz runs for so long, as many at a time as there are cores, from the committed corpus
# and what earlier runs have found (target/fuzz/corpus). What breaks one is kept in target/fuzz/artifacts, and
# the command to see it again is printed. The target sql is a test, of the functions through SQL on real servers;
# for it, the seed is printed. It needs no nightly toolchain: coverage is a pass of LLVM's, and
# libFuzzer comes with its crate.
set -eu

seconds=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
build=${CARGO_TARGET_DIR:-$root/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- $(ls "$root/tests/fuzz/fuzz_targets" | sed 's/\.rs$//') sql

# With --target, build scripts and macros are built without these. They are cargo-fuzz's.
flags='-Dwarnings --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
[ "$*" = sql ] || RUSTFLAGS=$(echo $flags) cargo build --quiet --release --locked --bins --target "$host" \
    --manifest-path "$root/tests/fuzz/Cargo.toml" --target-dir "$build"

fuzz() {
    program=$build/$host/release/$1 log=$build/$1.log result=fine
    mkdir -p "$build/corpus/$1" "$build/artifacts/$1"
    "$program" -max_total_time="$seconds" -timeout=10 -max_len=2048 -print_final_stats=1 \
        -artifact_prefix="$build/artifacts/$1/" "$build/corpus/$1" "$root/tests/fuzz/corpus/$1" 2>"$log" ||
        result=BROKEN
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    [ $result = fine ] || {
        input=$(sed -n 's/.*Test unit written to //p' "$log")
        echo "$1" >>"$build/broken"
        sed -n '/panicked at/,/^stack backtrace\|^note:/p; /ERROR/p' "$log" | cut -c 1-2000 >&2
        echo "fuzz.sh: what breaks $1 lies in ${input:-no file: see $log}; to see it again: $program $input" >&2
    }
    echo "fuzz: $1 $result, ${runs:-0} runs"
}

fuzz_sql() {
    mkdir -p "$build"
    log=$build/sql.log result=fine
    (cd "$root" && ROWCALL_FUZZ_SECONDS=$seconds cargo test --quiet --workspace --test e2e -- --nocapture fuzz_sql) \
        >"$log" 2>&1 || {
        result=BROKEN
        echo sql >>"$build/broken"
        grep -A 3 'panicked at' "$log" | cut -c 1-2000 >&2 || tail "$log" >&2
    }
    sed -n 's/^.*ROWCALL_FUZZ_SEED=/fuzz: sql, seed /p; s/^.*SKIPPED/fuzz: sql, skipped/p' "$log"
    echo "fuzz: sql $result"
}

rm -f "$build/broken"
running=0
for target in "$@"; do
    # After the others: its compiler and servers want all the cores.
    [ "$target" != sql ] || continue
    fuzz "$target" &
    running=$((running + 1))
    [ $((running % $(nproc))) != 0 ] || wait
done
wait
case " $* " in *" sql "*) fuzz_sql ;; esac
[ ! -e "$build/broken" ] || { echo "fuzz.sh: broken: $(tr '\n' ' ' <"$build/broken")" >&2; exit 1; }
