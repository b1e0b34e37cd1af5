// Package okta takes the place of Okta's SDK, by which Vault asks for a second factor at login. The tests ask for none,
// and the original, one package of 12 MB, takes 80 s and 1.8 GiB to compile.
package okta

import (
	"context"
	"errors"
)

var errAbsent = errors.New("this Vault is built without Okta")

// Configuration configures nothing.
type Configuration struct {
	Context context.Context
}

// ConfigSetter changes nothing.
type ConfigSetter func(*Configuration)

// NewConfiguration fails, so nothing below is ever called.
func NewConfiguration(...ConfigSetter) (*Configuration, error) { return nil, errAbsent }

// WithToken changes nothing.
func WithToken(string) ConfigSetter { return nil }

// WithOrgUrl changes nothing.
func WithOrgUrl(string) ConfigSetter { return nil }

// WithCache changes nothing.
func WithCache(bool) ConfigSetter { return nil }

// APIClient reaches nothing.
type APIClient struct {
	UserAPI       users
	UserFactorAPI factors
}

// NewAPIClient returns a client that reaches nothing.
func NewAPIClient(*Configuration) *APIClient { return &APIClient{} }

// GetConfig returns the configuration.
func (*APIClient) GetConfig() *Configuration { return &Configuration{Context: context.Background()} }

type users struct{}

func (users) ListUsers(context.Context) request[[]object] { return request[[]object]{} }

type factors struct{}

func (factors) ListFactors(context.Context, string) request[[]Factor] { return request[[]Factor]{} }

func (factors) VerifyFactor(context.Context, string, string) request[object] {
	return request[object]{}
}

func (factors) GetFactorTransactionStatus(context.Context, string, string, string) request[Transaction] {
	return request[Transaction]{}
}

type request[T any] struct{}

func (r request[T]) Filter(string) request[T] { return r }

func (request[T]) Execute() (answer T, response any, err error) { return answer, nil, errAbsent }

type object struct {
	Links map[string]any
}

func (object) GetId() string { return "" }

func (object) GetFactorResult() string { return "" }

// UserFactorPush is a factor that does not exist.
type UserFactorPush = object

// Factor is one of no factors.
type Factor struct {
	UserFactorPush *UserFactorPush
}

// Transaction is the state of no transaction.
type Transaction struct {
	UserFactorPushTransaction         *object
	UserFactorPushTransactionRejected *object
	UserFactorPushTransactionTimeout  *object
	UserFactorPushTransactionWaiting  *object
}
