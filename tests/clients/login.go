package main

// Who gets in: the part of check.go that needs users and certificates. The environment says which key
// (NKEY_SEED) and which authority (CA).

import (
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Whoever comes with this is let in, and what they publish comes back.
func echoes(options ...nats.Option) {
	nc := connect(options...)
	defer nc.Close()
	subscription := listen(nc, "shop.orders")
	must(nc.Publish("shop.orders", []byte("mine")))
	hears(subscription, "shop.orders", "mine")
}

func refused(options ...nats.Option) {
	_, err := nats.Connect(url, append(options, nats.NoReconnect())...)
	fails(err, nats.ErrAuthorization)
}

var alice = nats.UserInfo("alice", "alicealice")

func login() {
	refused()
	refused(nats.UserInfo("alice", "wrong"))
	pair, err := nkeys.FromSeed([]byte(os.Getenv("NKEY_SEED")))
	must(err)
	public, err := pair.PublicKey()
	must(err)
	echoes(nats.Nkey(public, pair.Sign))
	echoes(alice)
	// What she may not do is told, and nothing comes of it.
	told := make(chan error, 2)
	nc := connect(alice, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { told <- err }))
	defer nc.Close()
	orders := listen(nc, "shop.>")
	must(nc.Publish("secret.plan", []byte("x")))
	listen(nc, "secret.>")
	for i := 0; i < 2; i++ {
		text := strings.ToLower((<-told).Error())
		if !strings.Contains(text, "permissions violation") || !strings.Contains(text, "secret.") {
			panic(fmt.Errorf("told of another error: %s", text))
		}
	}
	must(nc.Publish("shop.orders", []byte("still here")))
	hears(orders, "shop.orders", "still here")
}

func token() {
	refused(nats.Token("wrong"))
	echoes(nats.Token("a token"))
}

func tls() {
	echoes(nats.RootCAs(os.Getenv("CA")))
	_, err := nats.Connect(url, nats.Secure(), nats.NoReconnect())
	if err == nil || !strings.Contains(err.Error(), "x509") {
		panic(fmt.Errorf("a certificate that nobody vouches for: %v", err))
	}
}
