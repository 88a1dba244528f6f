{{- define "control.labels" -}}
app.kubernetes.io/part-of: cellwallet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "control.image" -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- end }}

{{- define "control.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "control.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "control.databaseLabels" -}}
cnpg.io/cluster: control-plane-db
{{- end }}

{{/* libpq takes the password from PGPASSWORD, so that none has to be written into a URL. */}}
{{- define "control.database" -}}
- name: CONTROL_PLANE_DATABASE_URL
  value: postgresql://control_plane@control-plane-db-rw:5432/control_plane?sslmode=verify-full&sslrootcert=/run/secrets/database-ca/ca.crt
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: control-plane-db-app
      key: password
{{- end }}

{{- define "control.databaseCa" -}}
- name: database-ca
  secret:
    secretName: control-plane-db-ca
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}

{{/* Not empty where versions are brought to the cells of this cluster. */}}
{{- define "control.bringsReleases" -}}
{{- if eq .Values.releases.by "kubernetes" }}yes{{ end }}
{{- end }}

{{- define "control.releases" -}}
- name: CONTROL_PLANE_RELEASES_BY
  value: kubernetes
- name: CONTROL_PLANE_CELL_NAMESPACE
  value: {{ .Values.releases.cellNamespace | quote }}
{{- end }}

{{/* Where clients look for it. By name and not for every container: the kubelet renews it, and it ends with its pod. */}}
{{- define "control.clusterToken" -}}
- name: cluster-token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items:
            - {key: ca.crt, path: ca.crt}
{{- end }}
