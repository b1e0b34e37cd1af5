// Command cert-manager runs cert-manager's own controllers, unchanged, as one process against any API server.
// It exists because the module of cert-manager's real controller binary cannot be fetched; its controllers can.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/vault"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificatesigningrequests/vault"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/vault"
	"github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// Names and defaults are those of the real binary.
	opts := controller.ContextOptions{}
	opts.ClusterIssuerAmbientCredentials = true
	set(&opts, "CertificateRequestMinimumBackoffDuration", time.Hour)
	set(&opts, "CertificateRequestMaximumBackoffDuration", 32*time.Hour)
	set(&opts, "Clock", clock.Clock(clock.RealClock{}))
	set(&opts, "Metrics", metrics.New(klog.Background(), clock.RealClock{}))
	opts.CopiedAnnotationPrefixes = []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"}
	flag.StringVar(&opts.Kubeconfig, "kubeconfig", "", "path of a kubeconfig; empty: in-cluster")
	flag.StringVar(&opts.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system", "namespace of ClusterIssuers' secrets")
	qps := flag.Float64("kube-api-qps", 20, "client-side limit; without effect where the API server has priority and fairness on")
	flag.IntVar(&opts.KubernetesAPIBurst, "kube-api-burst", 50, "client-side burst; without effect where kube-api-qps has none")
	names := flag.String("controllers", "*", "comma list of controllers to run; * is all, -NAME leaves one out")
	klog.InitFlags(nil)
	flag.Parse()
	opts.KubernetesAPIQPS = float32(*qps)

	logs.InitLogs()
	defer logs.FlushLogs()
	if err := run(ctx, opts, strings.Split(*names, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opts controller.ContextOptions, names []string) error {
	known := controller.Known()
	for _, name := range names {
		if _, ok := known[strings.TrimPrefix(name, "-")]; !ok && name != "*" {
			return fmt.Errorf("no controller %q", name)
		}
	}
	factory, err := controller.NewContextFactory(ctx, opts)
	if err != nil {
		return err
	}
	base, err := factory.Build()
	if err != nil {
		return err
	}

	var wg sync.WaitGroup
	failed := make(chan error, len(known))
	for name, construct := range known {
		if slices.Contains(names, "-"+name) || !slices.Contains(names, "*") && !slices.Contains(names, name) {
			continue
		}
		c, err := construct(factory)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		wg.Go(func() {
			if err := start(ctx, c); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}

	base.SharedInformerFactory.Start(ctx.Done())
	base.KubeSharedInformerFactory.Start(ctx.Done())
	base.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	base.SharedInformerFactory.WaitForCacheSync(ctx.Done())
	base.KubeSharedInformerFactory.WaitForCacheSync(ctx.Done())
	if ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "cert-manager: caches synced")
	}

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		wg.Wait()
		return nil
	}
}

// set sets an option that not all versions have.
func set(opts *controller.ContextOptions, name string, value any) {
	if field := reflect.ValueOf(opts).Elem().FieldByName(name); field.IsValid() {
		field.Set(reflect.ValueOf(value))
	}
}

// start runs a controller with the number of workers of the real binary. Old versions take a channel instead of a context.
func start(ctx context.Context, c controller.Interface) error {
	switch run := any(c.Run).(type) {
	case func(int, context.Context) error:
		return run(5, ctx)
	case func(int, <-chan struct{}) error:
		return run(5, ctx.Done())
	default:
		return fmt.Errorf("cannot run a %T", run)
	}
}
