<?php
// Shows every change of sql/examples/orders.sql's table as it happens, a line for each, with nothing but PHP:
//
//   php orders.php                            at a terminal
//   php -S 127.0.0.1:8000 -t docs/examples    and in a browser http://127.0.0.1:8000/orders.php
//
// ROWCALL_HTTP in the environment says where rowcalld speaks HTTP, if not at 127.0.0.1:8222.

$daemon = getenv('ROWCALL_HTTP') ?: '127.0.0.1:8222';
$subject = rawurlencode('shop.orders.>');
$stream = fopen("http://$daemon/events?subject=$subject&format=json", 'r')
    or exit("rowcalld does not answer at $daemon\n");

header('Content-Type: text/plain; charset=utf-8');
header('X-Accel-Buffering: no');
set_time_limit(0);
while (ob_get_level() > 0) {
    ob_end_flush();
}

// The stream says something every 15 seconds, so it has ended when fgets() gives up.
while (($line = fgets($stream)) !== false) {
    if (str_starts_with($line, 'retry:')) {
        echo "listening\n";
    } elseif (str_starts_with($line, 'data: ')) {
        $event = json_decode(substr($line, 6));
        $order = json_decode($event->payload);
        echo rtrim("$event->subject $order->id " . ($order->state ?? '')), "\n";
    }
    flush();
}
