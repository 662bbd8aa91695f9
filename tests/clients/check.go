// Plays scenarios with nats.go, the official client for Go: check URL SCENARIO...
//
// Prints "ok SCENARIO" after each. Where the server must end and come back it says "please stop" or
// "please kill" first, and whoever runs it does that. Anything that is not as it should be is a
// message on stderr and an exit code of 1.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	patience = time.Minute            // for what must come; nobody waits for it unless something is wrong
	aMoment  = 100 * time.Millisecond // long enough for what must not come
)

var url string

// Ends the scenario, which is told with the words.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Complains if the one is not the other.
func equal(got, expected interface{}) {
	if !reflect.DeepEqual(got, expected) {
		panic(fmt.Errorf("expected %#v, got %#v", expected, got))
	}
}

// Complains if it is another error, or none.
func fails(err, expected error) {
	if !errors.Is(err, expected) {
		panic(fmt.Errorf("expected the error %q, got %v", expected, err))
	}
}

func connect(options ...nats.Option) *nats.Conn {
	patient := []nats.Option{nats.ReconnectWait(50 * time.Millisecond), nats.MaxReconnects(-1), nats.ReconnectJitter(0, 0)}
	connection, err := nats.Connect(url, append(patient, options...)...)
	must(err)
	return connection
}

func listen(connection *nats.Conn, subject string) *nats.Subscription {
	subscription, err := connection.SubscribeSync(subject)
	must(err)
	return subscription
}

func join(connection *nats.Conn, subject, queue string) *nats.Subscription {
	subscription, err := connection.QueueSubscribeSync(subject, queue)
	must(err)
	return subscription
}

func next(subscription *nats.Subscription) *nats.Msg {
	message, err := subscription.NextMsg(patience)
	must(err)
	return message
}

// The next message is this.
func hears(subscription *nats.Subscription, subject, payload string) {
	message := next(subscription)
	equal([]string{message.Subject, string(message.Data)}, []string{subject, payload})
}

// Nothing waits. The server has answered a PING since it was published.
func silent(connection *nats.Conn, subscriptions ...*nats.Subscription) {
	must(connection.Flush())
	for _, subscription := range subscriptions {
		waiting, _, err := subscription.Pending()
		must(err)
		equal(waiting, 0)
	}
}

func publish() {
	here, there := connect(), connect()
	defer here.Close()
	defer there.Close()
	subscription := listen(here, "shop.orders")
	must(here.Flush())
	largest := make([]byte, there.MaxPayload())
	for _, payload := range [][]byte{[]byte("one"), {}, []byte("\r\n\x00\xff"), largest} {
		must(there.Publish("shop.orders", payload))
		equal(bytes.Equal(next(subscription).Data, payload), true)
	}
	must(there.Publish("elsewhere", []byte("nobody")))
	fails(there.Publish("shop.orders", append(largest, 'x')), nats.ErrMaxPayload)
	must(there.Flush())
	silent(here, subscription)
}

func subscribe() {
	nc := connect()
	defer nc.Close()
	// Ends after two messages; the other at once.
	two, none := listen(nc, "few"), listen(nc, "few")
	must(two.AutoUnsubscribe(2))
	must(none.Unsubscribe())
	rest := listen(nc, "few")
	payloads := []string{"one", "two", "three"}
	for _, payload := range payloads {
		must(nc.Publish("few", []byte(payload)))
	}
	hears(two, "few", "one")
	hears(two, "few", "two")
	_, err := two.NextMsg(patience)
	fails(err, nats.ErrMaxMessages)
	_, err = none.NextMsg(patience)
	fails(err, nats.ErrBadSubscription)
	for _, payload := range payloads {
		hears(rest, "few", payload)
	}
	deaf := connect(nats.NoEcho())
	defer deaf.Close()
	echo := listen(deaf, "echo")
	must(deaf.Publish("echo", []byte("x")))
	silent(deaf, echo)
}

func wildcards() {
	nc := connect()
	defer nc.Close()
	star, middle, rest := listen(nc, "shop.*"), listen(nc, "shop.*.new"), listen(nc, "shop.>")
	subjects := []string{"shop", "shop.orders", "shop.orders.new", "shop.orders.new.big", "shopping"}
	for _, subject := range subjects {
		must(nc.Publish(subject, []byte(subject)))
	}
	hears(star, "shop.orders", "shop.orders")
	hears(middle, "shop.orders.new", "shop.orders.new")
	for _, subject := range subjects[1:4] {
		hears(rest, subject, subject)
	}
	silent(nc, star, middle, rest)
}

func queue() {
	const jobs = 300
	publisher := connect()
	defer publisher.Close()
	type result struct{ worker, job int }
	results := make(chan result, jobs)
	for number := 0; number < 3; number++ {
		number, worker := number, connect()
		defer worker.Close()
		_, err := worker.QueueSubscribe("jobs.*", "workers", func(job *nats.Msg) {
			n, _ := strconv.Atoi(string(job.Data))
			results <- result{number, n}
		})
		must(err)
		must(worker.Flush())
	}
	everyone := listen(publisher, "jobs.>")
	for job := 0; job < jobs; job++ {
		must(publisher.Publish(fmt.Sprintf("jobs.%d", job), []byte(strconv.Itoa(job))))
	}
	shares, done := make([]int, 3), make([]int, jobs)
	for i := 0; i < jobs; i++ {
		it := <-results
		shares[it.worker]++
		done[it.job]++
	}
	sort.Ints(shares)
	if shares[0] < 50 {
		panic(fmt.Errorf("the work was not shared: %v", shares))
	}
	for job, times := range done {
		equal(times, 1)
		hears(everyone, fmt.Sprintf("jobs.%d", job), strconv.Itoa(job))
	}
}

func request() {
	asker, worker := connect(), connect()
	defer asker.Close()
	defer worker.Close()
	_, err := worker.Subscribe("ask", func(question *nats.Msg) {
		must(question.Respond(append([]byte("you said "), question.Data...)))
	})
	must(err)
	listen(worker, "silent")
	must(worker.Flush())
	for number := 0; number < 100; number++ {
		reply, err := asker.Request("ask", []byte(strconv.Itoa(number)), patience)
		must(err)
		equal(string(reply.Data), fmt.Sprintf("you said %d", number))
	}
	// Someone is there, who does not answer.
	_, err = asker.Request("silent", nil, aMoment)
	fails(err, nats.ErrTimeout)
}

func noResponders() {
	nc := connect()
	defer nc.Close()
	_, err := nc.Request("nobody.is.here", nil, patience)
	fails(err, nats.ErrNoResponders)
}

func headers() {
	nc := connect()
	defer nc.Close()
	subscription := listen(nc, "with.headers")
	both := nats.Header{"Nats-Msg-Id": {"7"}, "Color": {"blue: light", "green"}}
	must(nc.PublishMsg(&nats.Msg{Subject: "with.headers", Header: both, Data: []byte("body")}))
	message := next(subscription)
	equal(string(message.Data), "body")
	equal(message.Header, both)
	alone := nats.Header{"Alone": {"yes"}}
	must(nc.PublishMsg(&nats.Msg{Subject: "with.headers", Header: alone}))
	message = next(subscription)
	equal(len(message.Data), 0)
	equal(message.Header, alone)
}

func drain() {
	staying := connect()
	defer staying.Close()
	closed := make(chan bool)
	leaving := connect(nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	worked, expected := []string{}, []string{}
	_, err := leaving.Subscribe("work", func(message *nats.Msg) { worked = append(worked, string(message.Data)) })
	must(err)
	must(leaving.Flush())
	for i := 0; i < 100; i++ {
		expected = append(expected, strconv.Itoa(i))
		must(staying.Publish("work", []byte(expected[i])))
	}
	must(staying.Flush())
	// What was on its way still comes, and then the end.
	must(leaving.Drain())
	<-closed
	equal(worked, expected)
	_, err = staying.Request("work", nil, patience)
	fails(err, nats.ErrNoResponders)
}

// The server ends and comes back, and the subscriptions are there again.
func survive(please string, announced bool, options ...nats.Option) {
	back, leaving := make(chan bool, 1), make(chan bool, 1)
	nc := connect(append(options,
		nats.ReconnectHandler(func(*nats.Conn) { back <- true }),
		nats.LameDuckModeHandler(func(*nats.Conn) { leaving <- true }),
	)...)
	defer nc.Close()
	plain, queued := listen(nc, "shop.*"), join(nc, "shop.*", "q")
	must(nc.Flush())
	fmt.Println(please)
	if announced {
		<-leaving
	}
	<-back
	other := connect(options...)
	defer other.Close()
	must(nc.Flush())
	must(other.Publish("shop.orders", []byte("back")))
	hears(plain, "shop.orders", "back")
	hears(queued, "shop.orders", "back")
}

// Works for the durable consumer `mail`; the payload says what to do with each event.
func consumer() {
	nc := connect()
	defer nc.Close()
	events := join(nc, "rowcall.consumer.mail", "workers")
	seen := []string{}
	for len(seen) < 6 {
		event := next(events)
		about, err := event.Metadata()
		must(err)
		deed, delivery := string(event.Data), about.NumDelivered
		seen = append(seen, fmt.Sprint(deed, " ", delivery))
		equal([]string{about.Stream, about.Consumer}, []string{"rowcall", "mail"})
		equal(event.Header.Get("Rowcall-Id"), fmt.Sprint(about.Sequence.Stream))
		again := ""
		if delivery > 1 {
			again = fmt.Sprint(delivery)
		}
		equal(event.Header.Get("Rowcall-Deliveries"), again)
		switch {
		case deed == "term":
			must(event.Term())
		case deed == "confirm":
			must(event.AckSync(nats.AckWait(patience)))
		case deed == "nak" && delivery == 1:
			must(event.InProgress())
			must(event.NakWithDelay(time.Millisecond))
		default:
			must(event.InProgress())
			must(event.Ack())
		}
	}
	must(nc.Flush())
	sort.Strings(seen)
	equal(seen, []string{"ack 1", "confirm 1", "last 1", "nak 1", "nak 2", "term 1"})
}

var scenarios = map[string]func(){
	"publish":       publish,
	"subscribe":     subscribe,
	"wildcards":     wildcards,
	"queue":         queue,
	"request":       request,
	"no-responders": noResponders,
	"headers":       headers,
	"drain":         drain,
	"restart":       func() { survive("please kill", false) },
	"leave":         func() { survive("please stop", true) },
	"consumer":      consumer,
	"login":         login,
	"login-again":   func() { survive("please kill", false, alice) },
	"token":         token,
	"tls":           tls,
}

func main() {
	url = os.Args[1]
	for _, name := range os.Args[2:] {
		name := name
		complain := func(problem interface{}) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, problem)
			os.Exit(1)
		}
		watch := time.AfterFunc(patience, func() { complain("it takes too long") })
		func() {
			defer func() {
				if problem := recover(); problem != nil {
					complain(problem)
				}
			}()
			scenarios[name]()
		}()
		watch.Stop()
		fmt.Println("ok", name)
	}
}
