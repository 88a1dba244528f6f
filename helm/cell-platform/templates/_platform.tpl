{{- define "platform.labels" -}}
app.kubernetes.io/part-of: cellwallet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
cellwallet/cell: {{ .Values.cell.id | quote }}
{{- end }}

{{/* The API processes of this cell, as the chart cell-app labels them. */}}
{{- define "platform.api" -}}
app.kubernetes.io/name: cell
cellwallet/cell: {{ .Values.cell.id | quote }}
{{- end }}

{{/* The instances of its database and the jobs that make them, as CloudNativePG labels them. */}}
{{- define "platform.database" -}}
cnpg.io/cluster: {{ .Values.cell.id }}-db
{{- end }}

{{/* What an instance is, by its size. A standby has what the primary has: promoted, it must not be throttled. */}}
{{- define "platform.sizes" -}}
small: {cpu: "2", memory: 8Gi, shared_buffers: 2GB, effective_cache_size: 6GB, max_connections: "400"}
medium: {cpu: "4", memory: 16Gi, shared_buffers: 4GB, effective_cache_size: 12GB, max_connections: "800"}
large: {cpu: "8", memory: 32Gi, shared_buffers: 8GB, effective_cache_size: 24GB, max_connections: "1200"}
{{- end }}
