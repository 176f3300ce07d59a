// Prints one object of each kind as the clients of the Service Catalog serialise it: with all zero values.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/kubernetes-sigs/service-catalog/pkg/apis/servicecatalog/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func meta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "servicecatalog.k8s.io/v1beta1", Kind: kind}
}

func main() {
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
	for _, object := range objects {
		body, err := json.Marshal(object)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(string(body))
	}
}
