{{- define "router.labels" -}}
app.kubernetes.io/name: router
app.kubernetes.io/part-of: cellwallet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Immutable in a Deployment, so no version may ever stand here. */}}
{{- define "router.selector" -}}
app.kubernetes.io/name: router
{{- end }}

{{- define "router.image" -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- end }}

{{- define "router.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
