package codec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	decoder        = "../testdata/decoder/decode.mjs"
	decoderVectors = "../testdata/vectors"
)

// skippedByDecoder are the vectors that the second decoder may leave out.
var skippedByDecoder = map[string]bool{}

// decode runs the second decoder and gives its exit status, what it printed and
// the numbers at the end of that.
func decode(t *testing.T, args ...string) (status int, out string, passed, failed, skipped int) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is not on the PATH: the second decoder cannot run")
		}
		t.Skip("node is not on the PATH: the second decoder is not run")
	}
	// Read here too, so that go test does not take a result from its cache when
	// one of these has changed.
	for _, dir := range []string{filepath.Dir(decoder), decoderVectors, decoderVectors + "/keyring", ".."} {
		if _, err := os.ReadDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{decoder}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, stdout, stderr.Bytes())
	}
	m := regexp.MustCompile(`(?m)^(\d+) passed, (\d+) failed, (\d+) skipped\n\z`).FindSubmatch(stdout)
	if m == nil {
		t.Fatalf("%v gave no numbers: %v\n%s%s", cmd, err, stdout, stderr.Bytes())
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(string(m[i+1]))
	}
	return cmd.ProcessState.ExitCode(), string(stdout), n[0], n[1], n[2]
}

// FORMAT.md is enough to read every vector: a decoder written from it alone, in
// another language, says the same of all of them as this package does.
func TestSecondDecoder(t *testing.T) {
	files := 0
	err := filepath.WalkDir(decoderVectors, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".txt") {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	status, out, passed, failed, skipped := decode(t, decoderVectors)
	if status != 0 || failed != 0 || files == 0 || passed != files-skipped {
		t.Errorf("of %d vectors: exit status %d\n%s", files, status, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^SKIP (\S+):`).FindAllStringSubmatch(out, -1) {
		skipped--
		name, err := filepath.Rel(decoderVectors, m[1])
		if err != nil || !skippedByDecoder[filepath.ToSlash(name)] {
			t.Errorf("skipped: %s", m[1])
		}
	}
	if skipped != 0 {
		t.Errorf("%d were skipped without a name\n%s", skipped, out)
	}
}

// The values of the worked example in FORMAT.md are what its definitions give.
func TestSecondDecoderExample(t *testing.T) {
	status, out, passed, failed, skipped := decode(t, "--example")
	if status != 0 || passed < 60 || failed != 0 || skipped != 0 {
		t.Errorf("exit status %d\n%s", status, out)
	}
}

// What TestSecondDecoder and TestSecondDecoderExample stand on: the decoder sees
// one changed byte.
func TestSecondDecoderFails(t *testing.T) {
	flip := func(t *testing.T, text string) string {
		b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
		if err != nil || len(b) == 0 {
			t.Fatalf("%q: %v", text, err)
		}
		b[len(b)-1] ^= 1
		var lines []string
		for s := base64.StdEncoding.EncodeToString(b); s != ""; s = s[min(76, len(s)):] {
			lines = append(lines, s[:min(76, len(s))])
		}
		return strings.Join(lines, "\n")
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, vector string) string
		failed int
	}{
		{"nothing", func(_ *testing.T, v string) string { return v }, 0},
		{"content", func(t *testing.T, v string) string {
			return regexp.MustCompile(`(?m)^content: .*$`).ReplaceAllStringFunc(v, func(line string) string {
				return "content: " + flip(t, strings.TrimPrefix(line, "content: "))
			})
		}, 1},
		{"record", func(t *testing.T, v string) string {
			head, body, _ := strings.Cut(v, "\n\n")
			return head + "\n\n" + flip(t, body) + "\n"
		}, 1},
		{"class", func(_ *testing.T, v string) string {
			v = regexp.MustCompile(`(?m)^content: .*\n`).ReplaceAllString(v, "")
			return strings.Replace(v, "expect: ok", "expect: expired", 1)
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"ok-example.txt", "keyring/ok-single.txt"} {
				b, err := os.ReadFile(filepath.Join(decoderVectors, name))
				if err != nil {
					t.Fatal(err)
				}
				text := string(b)
				if name == "ok-example.txt" {
					if text = test.change(t, text); (text == string(b)) != (test.failed == 0) {
						t.Fatalf("not changed as it should be:\n%s", text)
					}
				}
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			status, out, passed, failed, _ := decode(t, dir)
			if passed != 2-test.failed || failed != test.failed || status != test.failed {
				t.Errorf("exit status %d, %d failures are wanted\n%s", status, test.failed, out)
			}
		})
	}

	t.Run("example", func(t *testing.T) {
		b, err := os.ReadFile("../FORMAT.md")
		if err != nil {
			t.Fatal(err)
		}
		const id, other = "a873740bd85f6a0f055a85ca611cbaf9", "a873740bd85f6a0f055a85ca611cbaf8"
		path := filepath.Join(t.TempDir(), "FORMAT.md")
		if err := os.WriteFile(path, bytes.Replace(b, []byte(id), []byte(other), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, out, _, failed, _ := decode(t, "--example", path); status != 1 || failed != 1 {
			t.Errorf("exit status %d, 1 failure is wanted\n%s", status, out)
		}
	})
}
