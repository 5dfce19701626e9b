// The AWS SDK for Go, version 2, driven by lines of JSON: see base.py, Driver.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

type request struct {
	Operation string                     `json:"operation"`
	Command   string                     `json:"command"`
	Input     map[string]json.RawMessage `json:"input"`
	Out       string                     `json:"out"`
}

type body struct {
	File   string `json:"file"`
	Stream string `json:"stream"`
}

// what can only be read on: the SDK must not find its length by seeking
type unseekable struct{ io.Reader }

func (b *body) open() (io.Reader, func(), error) {
	f, err := os.Open(b.File + b.Stream)
	if err != nil {
		return nil, nil, err
	}
	if b.Stream != "" {
		return unseekable{f}, func() { f.Close() }, nil
	}
	return f, func() { f.Close() }, nil
}

// fill sets input's fields from JSON, and its Body from a file; the function
// that is returned closes that.
func fill(input any, fields map[string]json.RawMessage) (func(), error) {
	done := func() {}

	if raw, ok := fields["Body"]; ok {
		var b body
		if err := json.Unmarshal(raw, &b); err != nil {
			return done, err
		}
		r, closer, err := b.open()
		if err != nil {
			return done, err
		}
		done = closer
		reflect.ValueOf(input).Elem().FieldByName("Body").Set(
			reflect.ValueOf(&r).Elem())
		delete(fields, "Body")
	}

	text, err := json.Marshal(fields)
	if err != nil {
		return done, err
	}

	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return done, decoder.Decode(input)
}

func send(ctx context.Context, client *s3.Client, r *request) (any, error) {
	method := reflect.ValueOf(client).MethodByName(r.Operation)
	if !method.IsValid() {
		return nil, errors.New("no operation " + r.Operation)
	}

	input := reflect.New(method.Type().In(1).Elem())
	done, err := fill(input.Interface(), r.Input)
	defer done()
	if err != nil {
		return nil, err
	}

	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), input})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, err
	}

	if get, ok := results[0].Interface().(*s3.GetObjectOutput); ok {
		defer get.Body.Close()
		if r.Out != "" {
			f, err := os.Create(r.Out)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			if _, err := io.Copy(f, get.Body); err != nil {
				return nil, err
			}
		}
		get.Body = nil
	}

	return results[0].Interface(), nil
}

func upload(ctx context.Context, client *s3.Client, r *request) (any, error) {
	var input s3.PutObjectInput

	done, err := fill(&input, r.Input)
	defer done()
	if err != nil {
		return nil, err
	}

	part, err := strconv.ParseInt(os.Getenv("S3_PART"), 10, 64)
	if err != nil {
		return nil, err
	}

	_, err = manager.NewUploader(client, func(u *manager.Uploader) {
		u.PartSize = part
	}).Upload(ctx, &input)
	return struct{}{}, err
}

func presign(ctx context.Context, client *s3.Client, r *request) (any, error) {
	signer := s3.NewPresignClient(client)

	switch r.Command {
	case "GetObject":
		var input s3.GetObjectInput
		if _, err := fill(&input, r.Input); err != nil {
			return nil, err
		}
		url, err := signer.PresignGetObject(ctx, &input)
		if err != nil {
			return nil, err
		}
		return map[string]string{"url": url.URL}, nil
	case "PutObject":
		var input s3.PutObjectInput
		if _, err := fill(&input, r.Input); err != nil {
			return nil, err
		}
		url, err := signer.PresignPutObject(ctx, &input)
		if err != nil {
			return nil, err
		}
		return map[string]string{"url": url.URL}, nil
	}

	return nil, errors.New("cannot presign " + r.Command)
}

func answer(ctx context.Context, client *s3.Client, line []byte) any {
	var r request
	var output any

	err := json.Unmarshal(line, &r)

	if err == nil {
		switch r.Operation {
		case "upload":
			output, err = upload(ctx, client, &r)
		case "presign":
			output, err = presign(ctx, client, &r)
		default:
			output, err = send(ctx, client, &r)
		}
	}

	if err != nil {
		failure := map[string]string{"message": err.Error()}
		var api smithy.APIError
		if errors.As(err, &api) {
			failure["code"] = api.ErrorCode()
		}
		return map[string]any{"error": failure}
	}

	return map[string]any{"output": output}
}

func main() {
	transport := awshttp.NewBuildableClient().WithTransportOptions(
		func(t *http.Transport) {
			ca := os.Getenv("S3_CA")
			if ca == "" {
				return
			}
			pem, err := os.ReadFile(ca)
			if err != nil {
				panic(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			t.TLSClientConfig = &tls.Config{
				MinVersion: tls.VersionTLS12, RootCAs: roots}
		})

	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("S3_URL")),
		Region:       os.Getenv("S3_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("S3_ACCESS_KEY"), os.Getenv("S3_SECRET_KEY"), ""),
		HTTPClient:       transport,
		UsePathStyle:     true,
		RetryMaxAttempts: 1,
	})

	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)

	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := out.Encode(answer(context.Background(), client,
			line)); err != nil {
			panic(err)
		}
	}
}
