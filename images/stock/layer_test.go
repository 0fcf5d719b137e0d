package stock_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/images/stock"
)

var epoch = time.Unix(1735689600, 0)

func tarOf(t *testing.T, hs ...tar.Header) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		h.Format = tar.FormatPAX
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = h.Linkname // a file's content, in these tests
			h.Linkname, h.Size = "", int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func layerOf(t *testing.T, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := stock.WriteLayer(t.Context(), &b, tarOf(t, hs...), epoch); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// describe lists the entries of a tar, one a line.
func describe(t *testing.T, b []byte) []string {
	t.Helper()
	var lines []string
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch) || h.Uname != "" || len(h.PAXRecords) != 0 {
			t.Errorf("%s has time %v, owner %q, records %v, want the epoch and nothing else", h.Name, h.ModTime, h.Uname, h.PAXRecords)
		}
		lines = append(lines, fmt.Sprintf("%c %s %o %d:%d %s%s", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, content))
	}
}

func TestLayer(t *testing.T) {
	now := time.Now()
	got := layerOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/su", Linkname: "su", Mode: 0o4755, ModTime: now, Uname: "root"},
		tar.Header{Typeflag: tar.TypeDir, Name: "./usr/bin/", Mode: 0o755, ModTime: now},
		tar.Header{Typeflag: tar.TypeDir, Name: "./usr/bin-extra/", Mode: 0o2755},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "usr/bin", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeDir, Name: "./usr/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeDir, Name: "./tmp/", Mode: 0o1777},
		tar.Header{Typeflag: tar.TypeReg, Name: "./tmp/left", Linkname: "x"},
		tar.Header{Typeflag: tar.TypeDir, Name: "./dev/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null"},
		tar.Header{Typeflag: tar.TypeChar, Name: "./null"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/ping", Linkname: "ping", Mode: 0o755, Uid: 7, Gid: 8,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}},
	)
	want := []string{
		"2 bin 777 0:0 usr/bin",
		"5 dev/ 755 0:0 ",
		"5 tmp/ 1777 0:0 ",
		"5 usr/ 755 0:0 ",
		"5 usr/bin/ 755 0:0 ",
		"0 usr/bin/ping 755 7:8 ping",
		"0 usr/bin/su 755 0:0 su",
		"5 usr/bin-extra/ 755 0:0 ",
	}
	if diff := cmp.Diff(want, describe(t, got)); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestLayerHardLinks(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: "content", Mode: 0o644}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}
	}
	want := []string{"0 a 644 0:0 content", "1 b 644 0:0 a", "1 c/d 644 0:0 a"}
	for name, hs := range map[string][]tar.Header{
		"first has the content":   {file("a"), link("b", "a"), link("c/d", "a")},
		"last has the content":    {file("./c/d"), link("./b", "./c/d"), link("./a", "./c/d")},
		"dropped has the content": {file("tmp/x"), link("a", "tmp/x"), link("b", "tmp/x"), link("c/d", "tmp/x")},
	} {
		if diff := cmp.Diff(want, describe(t, layerOf(t, hs...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	err := stock.WriteLayer(t.Context(), io.Discard, tarOf(t, link("a", "nowhere")), epoch)
	if err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a link to nowhere gives %v, want an error that names it", err)
	}
}

// The order and the times of a root's entries leave no trace.
func TestLayerIsReproducible(t *testing.T) {
	a := tar.Header{Typeflag: tar.TypeReg, Name: "a", Linkname: "1", ModTime: time.Unix(1, 500)}
	b := tar.Header{Typeflag: tar.TypeReg, Name: "b", Linkname: "2", ModTime: time.Unix(2, 0)}
	first := layerOf(t, a, b)
	a.ModTime, b.Uname = time.Now(), "someone"
	if !bytes.Equal(first, layerOf(t, b, a)) {
		t.Error("the layer of the same files in another order differs")
	}
	b.Linkname = "3"
	if bytes.Equal(first, layerOf(t, a, b)) {
		t.Error("the layer of other content is the same")
	}
}

func TestIsDropped(t *testing.T) {
	for name, want := range map[string]bool{
		"dev": false, "dev/null": true, "dev/pts/0": true, "var/log": false, "var/log/apt/x": true,
		"etc/apt": true, "etc/apt/sources.list": true, "etc/passwd": false, "etc/passwd-": true,
		"etc/hostname": true, "var/lib/dpkg/status": false, "var/lib/dpkg/status-old": true,
		"usr/share/doc/bash/copyright": false, "usr/share/zoneinfo/UTC": false, "": false,
	} {
		if got := stock.IsDropped(name); got != want {
			t.Errorf("IsDropped(%q) = %v, want %v", name, got, want)
		}
	}
}
