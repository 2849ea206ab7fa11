package audit

import (
	"encoding/json"
	"io"
	"strings"
)

// SARIF writes the findings as a log of the Static Analysis Results Interchange
// Format, version 2.1.0 (OASIS), which code-scanning services read. A waived
// finding is in it, as suppressed; what could not be seen is a notification.
func (r *Report) SARIF(w io.Writer) error {
	run := sarifRun{Results: []sarifResult{}, Invocations: []sarifInvocation{{
		Successful: len(r.Unreached()) == 0, Ended: r.Time.Format("2006-01-02T15:04:05.000Z"), Notifications: r.notifications(),
	}}}
	run.Tool.Driver = sarifDriver{Name: "securecache audit", URI: "https://github.com/securecache/securecache-go", Rules: rules()}
	for _, one := range r.Results {
		if one.Status == Failed {
			run.Results = append(run.Results, sarifOf(one))
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     []sarifResult     `json:"results"`
}

type sarifDriver struct {
	Name  string      `json:"name"`
	URI   string      `json:"informationUri"`
	Rules []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID            string      `json:"id"`
	Short         sarifText   `json:"shortDescription"`
	Configuration sarifConfig `json:"defaultConfiguration"`
}

type sarifConfig struct {
	Level string `json:"level"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	Rule         string             `json:"ruleId"`
	Level        string             `json:"level"`
	Message      sarifText          `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Fingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifLocation struct {
	Logical []sarifLogical `json:"logicalLocations"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Ended         string              `json:"endTimeUtc"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level   string    `json:"level"`
	Message sarifText `json:"message"`
}

func rules() (list []sarifRule) {
	for _, c := range all {
		list = append(list, sarifRule{ID: c.ID, Short: sarifText{c.Title}, Configuration: sarifConfig{level(c.Severity)}})
	}
	return list
}

func level(s Severity) string {
	switch {
	case s >= High:
		return "error"
	case s == Medium:
		return "warning"
	}
	return "note"
}

func sarifOf(r Result) sarifResult {
	text := r.Evidence
	if len(r.Remedy) > 0 {
		text += "\nRemedy: " + strings.Join(r.Remedy, "\n")
	}
	out := sarifResult{
		Rule: r.Check, Level: level(r.Severity), Message: sarifText{text},
		Locations:    []sarifLocation{{Logical: []sarifLogical{{Name: r.Node, Kind: "resource"}}}},
		Fingerprints: map[string]string{"finding/v1": strings.Join([]string{r.Check, r.Node, r.Subject}, "|")},
	}
	if r.Waived != nil {
		out.Suppressions = []sarifSuppression{{Kind: "external", Justification: r.Waived.Reason + " (until " + r.Waived.Until + ")"}}
	}
	return out
}

func (r *Report) notifications() (list []sarifNotification) {
	for _, n := range r.Unreached() {
		list = append(list, sarifNotification{"error", sarifText{n.Addr + ": " + n.Error}})
	}
	for _, one := range r.Of(Unknown) {
		text := one.Check + " on " + one.Node + " is unknown: " + one.Evidence
		if one.Needs != "" {
			text += "; it needs " + one.Needs
		}
		list = append(list, sarifNotification{"warning", sarifText{text}})
	}
	return list
}
