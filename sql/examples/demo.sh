#!/bin/sh
# make demo: plays the examples of this folder on a private MariaDB with a private rowcalld, and
# shows what a listener hears beside the SQL that caused it. Everything lives in one temporary
# folder; nothing of an installed server is touched, and nothing is left running.
# Usage: sql/examples/demo.sh FOLDER-WITH-THE-PROGRAMS. KEEP=1 leaves all of it up.
set -eu

programs=$(cd "$1" && pwd)
examples=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d /tmp/rowcall-demo.XXXXXX)
mariadbd=$(PATH=$PATH:/usr/sbin command -v mariadbd)
database=$folder/db.sock
daemon=$folder/rowcall.sock
processes=

stop() {
    for process in $processes; do
        kill "$process" 2>/dev/null || continue
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$folder"
}

failed() {
    echo "demo: $1" >&2
    tail -n 5 "$folder"/*.log >&2
    exit 1
}

# Waits until a file has so many lines that hold some words.
await() {
    tries=0
    until [ "$(grep -c -e "$2" "$1" 2>/dev/null)" -ge "$3" ] 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || failed "no \"$2\" in $1 after 30 seconds"
        sleep 0.05
    done
}

sql() {
    mariadb --no-defaults --user=root --socket="$database" --table shop "$@"
}

# Runs a statement, and shows what the listener heard of it: so many lines more than before.
play() {
    before=$(wc -l <"$folder/heard")
    printf '\nSQL    %s\n' "$2"
    # On an error the client repeats the statement between two rules.
    { sql -e "$2" 2>&1 || true; } | sed -e '/^---*$/,/^---*$/d' -e '/^$/d' -e 's/^/       /'
    await "$folder/heard" '' $((before + $1))
    tail -n +$((before + 1)) "$folder/heard" | sed 's/^/HEARD  /'
}

trap stop EXIT
trap 'exit 130' INT TERM

account=
[ "$(id -u)" != 0 ] || account=--user=root
mariadb-install-db --no-defaults $account --datadir="$folder/data" --skip-test-db \
    --auth-root-authentication-method=normal >"$folder/install.log" 2>&1 ||
    failed "cannot make a data directory"
mkdir "$folder/plugins"

export ROWCALL_SOCKET="$daemon"
"$mariadbd" --no-defaults $account --datadir="$folder/data" --plugin-dir="$folder/plugins" \
    --tmpdir="$folder" \
    --socket="$database" --pid-file="$folder/db.pid" --skip-networking >"$folder/server.log" 2>&1 &
server=$!
processes="$server"
await "$folder/server.log" 'ready for connections' 1
address() { sed -n "s/.*listening transport=\"$1\" address=//p" "$folder/daemon.log"; }

export ROWCALL_SERVER="unix:$daemon"
echo "MariaDB $(mariadb --version | sed 's/.*Distrib \([^,]*\),.*/\1/') and rowcalld run in $folder. The functions go in:"
echo
"$programs/rowcall" install --outbox "$folder/outbox.cnf" --no-defaults -u root -S "$database"
"$programs/rowcalld" --listen 127.0.0.1:0 --http 127.0.0.1:0 --outbox "$folder/outbox.cnf" >"$folder/daemon.log" 2>&1 &
processes="$! $processes"
await "$folder/daemon.log" 'outbox: reading' 1
mariadb --no-defaults --user=root --socket="$database" -e 'CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4'
for example in orders approval cache; do
    sql <"$examples/$example.sql"
done

: >"$folder/heard"
"$programs/rowcall" listen 'shop.orders.>' 'cache.>' >>"$folder/heard" 2>"$folder/listen.log" &
processes="$! $processes"
await "$folder/listen.log" listening 1
# The worker of approval.sql: amounts below 1000 are fine.
"$programs/rowcall" reply shop.approve -- sh -c 'grep -q "\"amount\":[0-9]\{1,3\}\." && echo yes || echo no' \
    >"$folder/asked" 2>"$folder/reply.log" &
processes="$! $processes"
await "$folder/reply.log" answering 1

printf '\nA listener runs:  rowcall listen '\''shop.orders.>'\'' '\''cache.>'\''\n'
play 2 "INSERT INTO orders (customer, total) VALUES ('Ada', 12.50), ('Grace', 99.00)"
play 1 "UPDATE orders SET state = 'paid' WHERE customer = 'Ada'"
play 1 "DELETE FROM orders WHERE customer = 'Grace'"
play 0 "INSERT INTO products VALUES (7, 'teapot', 24.90)"
play 1 "UPDATE products SET price = 19.90 WHERE id = 7"

printf '\nCommitted mode: an event leaves after COMMIT, and never after ROLLBACK.\n'
play 0 "START TRANSACTION; CALL rowcall.publish('shop.orders.paid', '1'); ROLLBACK"
play 1 "START TRANSACTION; CALL rowcall.publish('shop.orders.paid', '2'); COMMIT"

printf '\nA durable consumer: each event waits for it until a worker has acknowledged it.\n\n'
"$programs/rowcall" consumer add mail 'shop.mail.>' --backoff 100ms --no-defaults -u root -S "$database"
: >"$folder/mails"
works() {
    "$programs/rowcall" reply rowcall.consumer.mail -- sh -c "$1" "$folder/mails" >/dev/null 2>"$folder/mail.log" &
    await "$folder/mail.log" answering 1
}
works 'echo "the first worker begins, and is killed:     $(cat)" >>"$0"; kill -9 $PPID'
play 0 "START TRANSACTION; CALL rowcall.publish('shop.mail.welcome', 'for Ada'); COMMIT"
await "$folder/mails" '' 1
works 'echo "the second worker gets it again, and is done: $(cat)" >>"$0"'
processes="$! $processes"
await "$folder/mails" '' 2
sed 's/^/WORKED /' "$folder/mails"
tries=0
until mariadb --no-defaults --user=root --socket="$database" -N -B -e \
    "SELECT settled = 1 AND delivered = 2 FROM rowcall.status WHERE consumer = 'mail'" | grep -q 1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || failed "the event was not settled after 30 seconds"
    sleep 0.1
done
play 0 "SELECT consumer, pending, delivered, redelivered, settled, parked FROM rowcall.status WHERE consumer = 'mail'"

printf '\nA worker runs:    rowcall reply shop.approve -- sh -c ...  It approves amounts below 1000.\n'
play 0 "INSERT INTO payments (account, amount) VALUES ('Ada', 250.00)"
play 0 "INSERT INTO payments (account, amount) VALUES ('Mallory', 250000.00)"
play 0 "SELECT account, amount FROM payments"
printf '\nWhat the worker was asked:\n'
sed 's/^/ASKED  /' "$folder/asked"
printf '\nA session asks by itself:\n'
play 0 "SELECT TRIM(TRAILING '\n' FROM CONVERT(rowcall_request('shop.approve', '{\"amount\":5.00}') USING utf8mb4)) AS answer"
play 0 "SELECT CONVERT(rowcall_status() USING utf8mb4) AS status\\G"

if [ "${KEEP-}" ]; then
    trap - EXIT
    cat <<END

All of it is still up.
  database:   mariadb --no-defaults -u root -S $database shop
  listen:     $programs/rowcall listen -s unix:$daemon '>'
  NATS:       $(address nats)   (nats://$(address nats) for any NATS client)
  HTTP:       curl http://$(address http)/varz
  stop it:    kill $processes; rm -rf $folder
END
else
    stop
    trap - EXIT
    printf '\nEverything has been stopped and removed. "make demo KEEP=1" leaves it up to play with.\n'
fi
