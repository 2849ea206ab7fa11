package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	lineWidth  = 80
	labelWidth = 13 // of what stands before a field
	indent     = "  "
)

// style is an ANSI attribute; "" is none.
type style string

const (
	bold  style = "1"
	faint style = "2"
	green style = "32"
	red   style = "1;31"
)

// printer lays text out in lines of 80 columns. It remembers the first error
// of its writer and writes no more after it.
type printer struct {
	w      io.Writer
	colour bool
	err    error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) in(s style, text string) string {
	if !p.colour || s == "" || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// section begins a chapter.
func (p *printer) section(title string) {
	p.line("")
	p.line("%s", p.in(bold, title))
}

// text prints a paragraph, broken between words.
func (p *printer) text(format string, args ...any) {
	for _, l := range wrapWords(fmt.Sprintf(format, args...), lineWidth) {
		p.line("%s", l)
	}
}

// list prints one item a line or more, with a dash before each.
func (p *printer) list(items []string) {
	for _, item := range items {
		for i, l := range wrapWords(item, lineWidth-len(indent)-2) {
			mark := "- "
			if i > 0 {
				mark = indent
			}
			p.line("%s%s%s", indent, mark, l)
		}
	}
}

// field prints a label and a value, cut to the line.
func (p *printer) field(label, value string, s style) {
	value = cut(value, lineWidth-len(indent)-labelWidth)
	p.line("%s%s%s", indent, p.in(faint, pad(label, labelWidth)), p.in(s, value))
}

// column is one of a table's.
type column struct {
	title string
	width int
	right bool
}

// table prints a heading and hands back what prints the rows, one at a time:
// what takes seconds should be seen to happen.
func (p *printer) table(columns ...column) func(cells ...string) {
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	if strings.Join(titles, "") != "" {
		p.line("%s", p.in(faint, row(columns, titles)))
	}
	return func(cells ...string) { p.line("%s", p.paint(row(columns, cells), cells[len(cells)-1])) }
}

// row lays the cells of a line out, two spaces apart.
func row(columns []column, cells []string) string {
	var b strings.Builder
	for i, c := range columns {
		cell := cut(cells[i], c.width)
		if c.right {
			cell = strings.Repeat(" ", c.width-utf8.RuneCountInString(cell)) + cell
		} else {
			cell = pad(cell, c.width)
		}
		b.WriteString(indent + cell)
	}
	return strings.TrimRight(b.String(), " ")
}

// Verdicts, as they stand at the end of a row.
const (
	good = "ok"
	bad  = "FAILED"
)

// paint colours a verdict at the end of a row.
func (p *printer) paint(line, last string) string {
	switch last {
	case good:
		return strings.TrimSuffix(line, good) + p.in(green, good)
	case bad:
		return strings.TrimSuffix(line, bad) + p.in(red, bad)
	}
	return line
}

// colourful reports whether colours are welcome on w; see no-color.org.
func colourful(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// cut shortens s to width columns.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// wrapWords breaks text between words. A word longer than width stays whole.
func wrapWords(text string, width int) []string {
	var lines []string
	var line string
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
