{{- /* Refuses values that a schema cannot, because two of them do not go together. The controller would not start. */}}
{{- define "vault-issuer.validate" -}}
{{- $election := .Values.app.leaderElection }}
{{- if not $election.enabled }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail "more than one replica needs app.leaderElection.enabled: two controllers without a leader would sign twice" }}
{{- end }}
{{- if eq (default "" .Values.strategy.type) "RollingUpdate" }}
{{- fail "strategy.type RollingUpdate needs app.leaderElection.enabled: a rollout runs the old and the new controller at once" }}
{{- end }}
{{- end }}
{{- if .Values.namespaces }}
{{- if .Values.credentials.allNamespaces }}
{{- fail "namespaces and credentials.allNamespaces do not go together: list credentials.namespaces" }}
{{- end }}
{{- if .Values.kubernetesCsrs.enabled }}
{{- fail "namespaces and kubernetesCsrs.enabled do not go together: CertificateSigningRequests are in no namespace" }}
{{- end }}
{{- if .Values.rbac.readNamespaces }}
{{- fail "namespaces and rbac.readNamespaces do not go together: VaultClusterIssuers are not served" }}
{{- end }}
{{- end }}
{{- $durations := dict
      "app.issuerCheckInterval" .Values.app.issuerCheckInterval
      "app.signTimeout" .Values.app.signTimeout
      "app.leaderElection.leaseDuration" $election.leaseDuration
      "app.leaderElection.renewDeadline" $election.renewDeadline
      "app.leaderElection.retryPeriod" $election.retryPeriod }}
{{- range $name, $duration := $durations }}
{{- if lt (include "vault-issuer.seconds" $duration | float64) 1.0 }}
{{- fail (printf "%s must be at least 1s, not %s" $name $duration) }}
{{- end }}
{{- end }}
{{- $lease := include "vault-issuer.seconds" $election.leaseDuration | float64 | floor }}
{{- $renew := include "vault-issuer.seconds" $election.renewDeadline | float64 }}
{{- $retry := include "vault-issuer.seconds" $election.retryPeriod | float64 }}
{{- if le $lease $renew }}
{{- fail "app.leaderElection.leaseDuration must be greater than app.leaderElection.renewDeadline" }}
{{- end }}
{{- if le $renew (mulf $retry 1.2) }}
{{- fail "app.leaderElection.renewDeadline must be greater than 1.2 times app.leaderElection.retryPeriod" }}
{{- end }}
{{- if and (eq (default "" .Values.strategy.type) "Recreate") .Values.strategy.rollingUpdate }}
{{- fail "strategy.rollingUpdate and strategy.type Recreate do not go together" }}
{{- end }}
{{- range .Values.app.extraArgs }}
{{- if regexMatch "^--leader-elect(=|$)" . }}
{{- fail "app.extraArgs: set app.leaderElection.enabled instead of --leader-elect, on which the strategy depends" }}
{{- end }}
{{- end }}
{{- $variables := list }}
{{- with .Values.https_proxy }}{{ $variables = append $variables "HTTPS_PROXY" }}{{ end }}
{{- with .Values.no_proxy }}{{ $variables = append $variables "NO_PROXY" }}{{ end }}
{{- with .Values.app.traces.endpoint }}{{ $variables = append $variables "OTEL_EXPORTER_OTLP_ENDPOINT" }}{{ end }}
{{- range .Values.app.extraEnv }}
{{- if has .name $variables }}
{{- fail (printf "%s is given twice: in app.extraEnv, and there or as https_proxy, no_proxy or app.traces.endpoint" .name) }}
{{- end }}
{{- $variables = append $variables .name }}
{{- end }}
{{- $metrics := .Values.app.metrics }}
{{- if and $metrics.enabled (eq (int $metrics.port) (int .Values.app.healthProbe.port)) }}
{{- fail "app.metrics.port and app.healthProbe.port must differ" }}
{{- end }}
{{- $monitors := list }}
{{- if $metrics.service.servicemonitor.enabled }}
{{- $monitors = append $monitors "app.metrics.service.servicemonitor" }}
{{- if not $metrics.service.enabled }}
{{- fail "app.metrics.service.servicemonitor needs app.metrics.service.enabled" }}
{{- end }}
{{- end }}
{{- if $metrics.podmonitor.enabled }}
{{- $monitors = append $monitors "app.metrics.podmonitor" }}
{{- end }}
{{- if gt (len $monitors) 1 }}
{{- fail (printf "enable one of %s: both would scrape the same pods" (join " and " $monitors)) }}
{{- end }}
{{- if and $monitors (not $metrics.enabled) }}
{{- fail (printf "%s needs app.metrics.enabled" (first $monitors)) }}
{{- end }}
{{- range $name, $monitor := dict "service.servicemonitor" $metrics.service.servicemonitor "podmonitor" $metrics.podmonitor }}
{{- $interval := include "vault-issuer.seconds" $monitor.interval | float64 }}
{{- $timeout := include "vault-issuer.seconds" $monitor.scrapeTimeout | float64 }}
{{- if and $monitor.interval (gt $timeout $interval) }}
{{- fail (printf "app.metrics.%s.scrapeTimeout must not be longer than its interval" $name) }}
{{- end }}
{{- end }}
{{- $alerts := list }}
{{- range (fromYaml (.Files.Get "files/prometheus-rule.yaml")).spec.groups }}
{{- range .rules }}
{{- $alerts = append $alerts .alert }}
{{- end }}
{{- end }}
{{- range .Values.prometheusRule.disabledAlerts }}
{{- if not (has . $alerts) }}
{{- fail (printf "prometheusRule.disabledAlerts: there is no alert %s; there are %s" . (join ", " $alerts)) }}
{{- end }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if not (or (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) }}
{{- fail "give one of podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable" }}
{{- end }}
{{- end }}
{{- end }}
