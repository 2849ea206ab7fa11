package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Waiver accepts what a check finds, for a reason and for a time.
type Waiver struct {
	Check string `json:"check"`
	// Node and Subject narrow it to one server and to one user or CVE; "" covers
	// all.
	Node    string `json:"node,omitempty"`
	Subject string `json:"subject,omitempty"`
	Reason  string `json:"reason"`
	// Until is the last day, as 2006-01-02, in UTC. Afterwards the finding counts
	// again.
	Until string `json:"until"`
}

// ParseWaivers reads a JSON array of waivers. A field that does not exist, a
// check that does not exist, a missing reason or end are errors: a waiver that
// covers nothing would be noticed too late.
func ParseWaivers(text []byte) ([]Waiver, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var list []Waiver
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("audit: waivers: %w", err)
	}
	for _, w := range list {
		if err := w.validate(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (w Waiver) validate() error {
	if err := (&Options{Checks: []string{w.Check}}).validate(); err != nil {
		return err
	}
	if w.Reason == "" {
		return fmt.Errorf("audit: the waiver of %s has no reason", w.Check)
	}
	if _, err := w.end(); err != nil {
		return fmt.Errorf("audit: the waiver of %s: %w", w.Check, err)
	}
	return nil
}

// end is the first moment after the waiver.
func (w Waiver) end() (time.Time, error) {
	day, err := time.Parse(time.DateOnly, w.Until)
	if err != nil {
		return time.Time{}, errors.New("until must be a day such as 2027-01-31")
	}
	return day.AddDate(0, 0, 1), nil
}

func (w Waiver) covers(r Result, now time.Time) bool {
	end, err := w.end()
	return err == nil && now.Before(end) && w.Check == r.Check &&
		(w.Node == "" || w.Node == r.Node) && (w.Subject == "" || w.Subject == r.Subject)
}

// waive notes which findings are covered.
func (r *Report) waive(waivers []Waiver) {
	for i := range r.Results {
		for _, w := range waivers {
			if one := &r.Results[i]; one.Status == Failed && w.covers(*one, r.Time) {
				one.Waived = &w
				break
			}
		}
	}
}
