// Prints one object of each kind as the clients of the Service Catalog serialise it: with all zero values. With the
// arguments `kf SERVICE` it prints what Kf writes.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/kubernetes-sigs/service-catalog/pkg/apis/servicecatalog/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func meta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "servicecatalog.k8s.io/v1beta1", Kind: kind}
}

// ofKf returns the instance of `kf create-service SERVICE default mydb` for a service of a ServiceBroker, and the binding
// that Kf's controller writes for the app `app` after `kf bind-service app mydb`, without its owner.
func ofKf(service string) []interface{} {
	none := &runtime.RawExtension{Raw: []byte("{}")}
	return []interface{}{
		v1beta1.ServiceInstance{TypeMeta: meta("ServiceInstance"), ObjectMeta: metav1.ObjectMeta{Name: "mydb"},
			Spec: v1beta1.ServiceInstanceSpec{PlanReference: v1beta1.PlanReference{ServiceClassExternalName: service, ServicePlanExternalName: "default"}, Parameters: none}},
		v1beta1.ServiceBinding{TypeMeta: meta("ServiceBinding"),
			ObjectMeta: metav1.ObjectMeta{Name: "kf-binding-app-mydb", Labels: map[string]string{"kf-app-name": "app", "kf-binding-name": "mydb"}},
			Spec:       v1beta1.ServiceBindingSpec{InstanceRef: v1beta1.LocalObjectReference{Name: "mydb"}, Parameters: none}},
	}
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "kf" {
		show(ofKf(os.Args[2]))
		return
	}
	name := metav1.ObjectMeta{Name: "zero"}
	common := v1beta1.CommonServiceBrokerSpec{URL: "http://broker.invalid", CatalogRestrictions: &v1beta1.CatalogRestrictions{}}
	objects := []interface{}{
		v1beta1.ClusterServiceBroker{TypeMeta: meta("ClusterServiceBroker"), ObjectMeta: name, Spec: v1beta1.ClusterServiceBrokerSpec{CommonServiceBrokerSpec: common}},
		v1beta1.ServiceBroker{TypeMeta: meta("ServiceBroker"), ObjectMeta: name, Spec: v1beta1.ServiceBrokerSpec{CommonServiceBrokerSpec: common}},
		v1beta1.ClusterServiceClass{TypeMeta: meta("ClusterServiceClass"), ObjectMeta: name, Spec: v1beta1.ClusterServiceClassSpec{CommonServiceClassSpec: v1beta1.CommonServiceClassSpec{ExternalName: "c", ExternalID: "c"}, ClusterServiceBrokerName: "b"}},
		v1beta1.ServiceClass{TypeMeta: meta("ServiceClass"), ObjectMeta: name, Spec: v1beta1.ServiceClassSpec{CommonServiceClassSpec: v1beta1.CommonServiceClassSpec{ExternalName: "c", ExternalID: "c"}, ServiceBrokerName: "b"}},
		v1beta1.ClusterServicePlan{TypeMeta: meta("ClusterServicePlan"), ObjectMeta: name, Spec: v1beta1.ClusterServicePlanSpec{CommonServicePlanSpec: v1beta1.CommonServicePlanSpec{ExternalName: "p", ExternalID: "p"}, ClusterServiceBrokerName: "b", ClusterServiceClassRef: v1beta1.ClusterObjectReference{Name: "c"}}},
		v1beta1.ServicePlan{TypeMeta: meta("ServicePlan"), ObjectMeta: name, Spec: v1beta1.ServicePlanSpec{CommonServicePlanSpec: v1beta1.CommonServicePlanSpec{ExternalName: "p", ExternalID: "p"}, ServiceBrokerName: "b", ServiceClassRef: v1beta1.LocalObjectReference{Name: "c"}}},
		v1beta1.ServiceInstance{TypeMeta: meta("ServiceInstance"), ObjectMeta: name, Spec: v1beta1.ServiceInstanceSpec{PlanReference: v1beta1.PlanReference{ClusterServiceClassExternalName: "c"}, UserInfo: &v1beta1.UserInfo{}},
			Status: v1beta1.ServiceInstanceStatus{InProgressProperties: &v1beta1.ServiceInstancePropertiesState{}, ExternalProperties: &v1beta1.ServiceInstancePropertiesState{UserInfo: &v1beta1.UserInfo{}}}},
		v1beta1.ServiceBinding{TypeMeta: meta("ServiceBinding"), ObjectMeta: name, Spec: v1beta1.ServiceBindingSpec{InstanceRef: v1beta1.LocalObjectReference{Name: "i"}, UserInfo: &v1beta1.UserInfo{},
			SecretTransforms: []v1beta1.SecretTransform{{AddKey: &v1beta1.AddKeyTransform{Key: "k"}}, {AddKeysFrom: &v1beta1.AddKeysFromTransform{SecretRef: &v1beta1.ObjectReference{Namespace: "n", Name: "s"}}}, {RenameKey: &v1beta1.RenameKeyTransform{From: "f", To: "t"}}, {RemoveKey: &v1beta1.RemoveKeyTransform{Key: "k"}}}},
			Status: v1beta1.ServiceBindingStatus{InProgressProperties: &v1beta1.ServiceBindingPropertiesState{}, ExternalProperties: &v1beta1.ServiceBindingPropertiesState{UserInfo: &v1beta1.UserInfo{}}}},
	}
	show(objects)
}

func show(objects []interface{}) {
	for _, object := range objects {
		body, err := json.Marshal(object)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(string(body))
	}
}
